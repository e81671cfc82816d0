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

// Claim writes m as the one message of its subject. It says whether it did: false where the
// subject has its message already, which may be m itself where the broker's first answer was lost.
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

// PublishOnce is Claim for those to whom it is all the same who wrote it.
func (b *Bus) PublishOnce(ctx context.Context, s Subject, m proto.Message) error {
	_, err := b.PublishIfAbsent(ctx, s, m)
	return err
}

// LeftOlder is the reason of an outcome whose request was created before its company's since.
const LeftOlder = "older"

// Decode reads a message of the bus; what no service of ours wrote is a permanent error.
func Decode(msg Message, into interface {
	proto.Message
	GetCompanyId() int64
	GetErpRequestId() int64
}) error {
	if err := proto.Unmarshal(msg.Data, into); err != nil {
		return fault.New(fault.Permanent, fmt.Errorf("message does not parse: %w", err))
	}
	if into.GetCompanyId() != msg.Subject.Company || into.GetErpRequestId() != msg.Subject.Request {
		return fault.New(fault.Permanent, fmt.Errorf("message is of company %d, request %d; its subject says otherwise", into.GetCompanyId(), into.GetErpRequestId()))
	}
	return nil
}

// Bury keeps a message that could not be worked in the dead letter stream, whole. Once it
// returned nil the message may be acked. Burying the same message again adds nothing within
// ten minutes, nor later while its letter is the last of its subject. A message so large that the
// broker does not take it with its obituary stays where it is, named by stream and sequence.
func (b *Bus) DeadLetter(ctx context.Context, stop string, msg Message, cause error) error {
	cause = truncateError(cause) // a letter that is too large without its message could not be written at all
	letter := &tiebackv1.DeadLetter{
		CompanyId: msg.Subject.Company, ErpRequestId: msg.Subject.Request, Type: msg.Subject.Type,
		Stage: stop, Class: classes[fault.ClassOf(cause)], Error: strings.ToValidUTF8(cause.Error(), "?"), Attempts: int32(msg.Attempt),
		DiedAt: timestamppb.Now(), Subject: msg.Raw, Message: msg.Data, Stream: msg.Stream, StreamSequence: msg.Sequence,
		Cause: causes[fault.CauseOf(cause)], UserMessage: strings.ToValidUTF8(fault.UserMessage(cause, ""), "?"),
	}
	if buried, err := b.exists(ctx, msg.Subject.Run, letter); buried || err != nil {
		return err
	}
	err := b.publishDeadLetter(ctx, msg.Subject.Run, letter)
	if err != nil && fault.ClassOf(err) == fault.Permanent && letter.Message != nil {
		letter.Message, letter.Error = nil, letter.Error+" (the message is too large to be kept here: read it from its stream)"
		err = b.publishDeadLetter(ctx, msg.Subject.Run, letter)
	}
	return err
}

// errorMost is how many bytes of an error's text are kept: more than pkg/fault leaves of what others say, for a panic's stack.
const maxErrorText = 16 << 10

// shortened cuts the text of an error that is longer than errorMost.
func truncateError(err error) error {
	if err == nil || len(err.Error()) <= maxErrorText {
		return err
	}
	return &truncatedError{fault.Cut(err.Error(), maxErrorText), err}
}

// shortError is an error whose text was cut.
type truncatedError struct {
	text string
	err  error
}

func (e *truncatedError) Error() string { return e.text }
func (e *truncatedError) Unwrap() error { return e.err }

// buried says whether the last letter of the subject is of the same message and stop: somebody who
// can't be told comes back for a day, and ten minutes of duplicates would make it many letters.
func (b *Bus) exists(ctx context.Context, run string, letter *tiebackv1.DeadLetter) (bool, error) {
	m, has, err := b.Last(ctx, deadLetterSubject(run, letter))
	if !has || err != nil {
		return false, err
	}
	last := &tiebackv1.DeadLetter{}
	return proto.Unmarshal(m.Data, last) == nil && last.Stage == letter.Stage && last.Stream == letter.Stream && last.StreamSequence == letter.StreamSequence, nil
}

// grave is where a letter lies.
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
	fault.Ours:       tiebackv1.Cause_CAUSE_OURS,
	fault.TenantData: tiebackv1.Cause_CAUSE_TENANT_DATA,
	fault.ERP:        tiebackv1.Cause_CAUSE_ERP,
	fault.Procore:    tiebackv1.Cause_CAUSE_PROCORE,
	fault.Limits:     tiebackv1.Cause_CAUSE_LIMITS,
}
