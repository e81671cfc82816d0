package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// PublishOnce writes m as the one message of its subject; nil also if it is there already.
func (b *Bus) PublishOnce(ctx context.Context, s Subject, m proto.Message) error {
	data, err := proto.Marshal(m)
	if err != nil {
		return fault.New(fault.Permanent, err)
	}
	err = b.Publisher(s.Kind).Publish(ctx, Once(&nats.Msg{Subject: s.String(), Data: data}))
	if errors.Is(err, ErrDuplicate) {
		return nil
	}
	return err
}

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
// ten minutes, and a second copy after.
func (b *Bus) Bury(ctx context.Context, stop string, msg Message, cause error) error {
	subject := For(Dead, msg.Subject.Type, msg.Subject.Company, msg.Subject.Request)
	data, err := proto.Marshal(&tiebackv1.DeadLetter{
		CompanyId: msg.Subject.Company, ErpRequestId: msg.Subject.Request, Type: subject.Type,
		Stop: stop, Class: classes[fault.ClassOf(cause)], Error: cause.Error(), Attempts: int32(msg.Attempt),
		DiedAt: timestamppb.Now(), Subject: msg.Raw, Message: msg.Data, Stream: msg.Stream, StreamSequence: msg.Sequence,
	})
	if err != nil {
		return err
	}
	h := nats.Header{}
	h.Set(nats.MsgIdHdr, fmt.Sprintf("dead-%s-%s-%d", msg.Stream, stop, msg.Sequence))
	return b.Publisher(Dead).Publish(ctx, &nats.Msg{Subject: subject.String(), Data: data, Header: h})
}

var classes = map[fault.Class]tiebackv1.ErrorClass{
	fault.Permanent: tiebackv1.ErrorClass_ERROR_CLASS_PERMANENT,
	fault.Transient: tiebackv1.ErrorClass_ERROR_CLASS_TRANSIENT,
	fault.Throttled: tiebackv1.ErrorClass_ERROR_CLASS_THROTTLED,
	fault.Ambiguous: tiebackv1.ErrorClass_ERROR_CLASS_AMBIGUOUS,
}
