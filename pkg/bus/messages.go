package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// PublishIfAbsent publishes m unless its subject has a message. It returns false if the subject has one, which may be m
// itself if the broker's first reply was lost.
func (b *Bus) PublishIfAbsent(ctx context.Context, s Subject, m proto.Message) (bool, error) {
	data, err := proto.Marshal(m)
	if err != nil {
		return false, fault.New(fault.Permanent, err)
	}
	err = b.Publisher(s.Kind).Publish(ctx, IfAbsent(&nats.Msg{Subject: s.String(), Data: data}))
	if errors.Is(err, ErrDuplicate) {
		return false, nil
	}
	return err == nil, err
}

// PublishOnce is PublishIfAbsent for callers that don't care whether they or another process published the message.
func (b *Bus) PublishOnce(ctx context.Context, s Subject, m proto.Message) error {
	_, err := b.PublishIfAbsent(ctx, s, m)
	return err
}

// SkippedOlder is the value of Outcome.SkipReason for a request that Procore created before the time in its company's setting "since".
const SkippedOlder = "older"

// Decode parses a message and checks that its company and request are those of its subject. Its errors are permanent.
func Decode(msg Message, into interface {
	proto.Message
	GetCompanyId() int64
	GetErpRequestId() int64
}) error {
	if err := proto.Unmarshal(msg.Data, into); err != nil {
		return fault.New(fault.Permanent, fmt.Errorf("the message does not parse: %w", err))
	}
	if into.GetCompanyId() != msg.Subject.Company || into.GetErpRequestId() != msg.Subject.Request {
		return fault.New(fault.Permanent, fmt.Errorf("company %d and request %d of the message differ from those in its subject", into.GetCompanyId(), into.GetErpRequestId()))
	}
	return nil
}

// DeadLetter stores a message that a stage could not process, with the cause, in the stream of dead letters. After it returns
// nil the message may be acked. A repeated call for the same message and stage stores nothing if it comes within ten minutes,
// or if no other dead letter was stored on the subject since. If the message is too large to be stored in its dead letter, the
// dead letter has only the message's stream and sequence.
func (b *Bus) DeadLetter(ctx context.Context, stage string, msg Message, cause error) error {
	cause = truncateError(cause) // so that the dead letter, at least without its message, is never too large
	letter := &tiebackv1.DeadLetter{
		CompanyId: msg.Subject.Company, ErpRequestId: msg.Subject.Request, Type: msg.Subject.Type,
		Stage: stage, Class: classes[fault.ClassOf(cause)], Error: strings.ToValidUTF8(cause.Error(), "?"), Attempts: int32(msg.Attempt),
		DiedAt: timestamppb.Now(), Subject: msg.RawSubject, Message: msg.Data, Stream: msg.Stream, StreamSequence: msg.Sequence,
		Cause: causes[fault.CauseOf(cause)], UserMessage: strings.ToValidUTF8(fault.UserMessage(cause, ""), "?"),
	}
	if exists, err := b.deadLetterExists(ctx, msg.Subject.Run, letter); exists || err != nil {
		return err
	}
	err := b.publishDeadLetter(ctx, msg.Subject.Run, letter)
	if err != nil && fault.ClassOf(err) == fault.Permanent && letter.Message != nil {
		letter.Message, letter.Error = nil, letter.Error+" (the message is too large to be kept in its dead letter: read it from its stream)"
		err = b.publishDeadLetter(ctx, msg.Subject.Run, letter)
	}
	return err
}

// maxErrorText is how many bytes of an error's text are stored. It is larger than pkg/fault's limit for texts from other
// systems, because a panic's text includes its stack.
const maxErrorText = 16 << 10

// truncateError truncates the text of an error to maxErrorText bytes.
func truncateError(err error) error {
	if err == nil || len(err.Error()) <= maxErrorText {
		return err
	}
	return &truncatedError{fault.Cut(err.Error(), maxErrorText), err}
}

// truncatedError is an error whose text was truncated.
type truncatedError struct {
	text string
	err  error
}

func (e *truncatedError) Error() string { return e.text }
func (e *truncatedError) Unwrap() error { return e.err }

// deadLetterExists reports whether the last dead letter of the subject is of the same message and stage. The broker's
// duplicate window of ten minutes is too short for a message whose result can't be reported to Procore: such a message is
// redelivered for a day.
func (b *Bus) deadLetterExists(ctx context.Context, run string, letter *tiebackv1.DeadLetter) (bool, error) {
	m, has, err := b.Last(ctx, deadLetterSubject(run, letter))
	if !has || err != nil {
		return false, err
	}
	last := &tiebackv1.DeadLetter{}
	return proto.Unmarshal(m.Data, last) == nil && last.Stage == letter.Stage && last.Stream == letter.Stream && last.StreamSequence == letter.StreamSequence, nil
}

// deadLetterSubject returns the subject of a dead letter.
func deadLetterSubject(run string, letter *tiebackv1.DeadLetter) Subject {
	return For(Dead, letter.Type, letter.CompanyId, letter.ErpRequestId).WithRun(run)
}

func (b *Bus) publishDeadLetter(ctx context.Context, run string, letter *tiebackv1.DeadLetter) error {
	data, err := proto.Marshal(letter)
	if err != nil {
		return err
	}
	subject := deadLetterSubject(run, letter)
	h := nats.Header{}
	h.Set(nats.MsgIdHdr, fmt.Sprintf("dead-%s-%s-%d", letter.Stream, letter.Stage, letter.StreamSequence))
	return b.Publisher(Dead).Publish(ctx, &nats.Msg{Subject: subject.String(), Data: data, Header: h})
}

var classes = map[fault.Class]tiebackv1.ErrorClass{
	fault.Permanent: tiebackv1.ErrorClass_ERROR_CLASS_PERMANENT,
	fault.Transient: tiebackv1.ErrorClass_ERROR_CLASS_TRANSIENT,
	fault.Throttled: tiebackv1.ErrorClass_ERROR_CLASS_THROTTLED,
	fault.Ambiguous: tiebackv1.ErrorClass_ERROR_CLASS_AMBIGUOUS,
}

var causes = map[fault.Cause]tiebackv1.Cause{
	fault.Tieback:     tiebackv1.Cause_CAUSE_TIEBACK,
	fault.CompanyData: tiebackv1.Cause_CAUSE_COMPANY_DATA,
	fault.ERP:         tiebackv1.Cause_CAUSE_ERP,
	fault.Procore:     tiebackv1.Cause_CAUSE_PROCORE,
	fault.Limits:      tiebackv1.Cause_CAUSE_LIMITS,
}
