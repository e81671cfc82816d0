package dead

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/aymanbagabas/go-udiff"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// ErrInvalidEdit is returned for an edited message that is not accepted. The error's text says why.
var ErrInvalidEdit = errors.New("the edited message is not accepted")

// Draft is the message of a dead letter, to be edited.
type Draft struct {
	DeadLetter request.DeadLetter
	Text       string // an event's payload as JSON, any other message as protojson

	resolver *Resolver
	on       bus.Subject
	data     []byte
}

// Edit returns the message of a dead letter, to be edited. Its errors are those of Replay.
func (r *Resolver) Edit(ctx context.Context, id uint64) (*Draft, error) {
	l, err := request.ReadDeadLetter(ctx, r.Bus, id)
	if err != nil {
		return nil, err
	}
	on, data, err := r.message(ctx, l)
	if err != nil {
		return nil, err
	}
	return &Draft{DeadLetter: l, Text: text(on, data), resolver: r, on: on, data: data}, nil
}

// Edited is a draft with a new text that was checked.
type Edited struct {
	*Draft
	Difference string // unified diff from Text; "" if at most white space was changed
	message    []byte
}

// Take checks an edited text. It must be valid on the subject of the failed message, with the same company, request and
// type, and must not close other request details. The error is an ErrInvalidEdit.
func (d *Draft) Take(edited string) (*Edited, error) {
	message, err := encode(d.on, d.data, []byte(edited))
	if err == nil {
		err = check(d.on, message)
	}
	if err == nil {
		err = d.sameDetails(message)
	}
	if err == nil {
		err = d.sameTime(message)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrInvalidEdit, fault.UserMessage(err, err.Error()))
	}
	e := &Edited{Draft: d, message: message}
	after := text(d.on, message)
	e.Difference = udiff.Unified(fmt.Sprint("dead letter ", d.DeadLetter.ID), "edited", d.Text, after)
	if again, err := reapply(d.on, d.data, e.Difference); e.Difference != "" && (err != nil || !bytes.Equal(again, message)) {
		return nil, fmt.Errorf("%w: its difference can't be stored", ErrInvalidEdit)
	}
	return e, nil
}

// Replay stores the difference and sends the edited message; otherwise it is like Resolver.Replay. If an earlier replay
// was interrupted, Replay sends that one instead (see Resolution.Resumed).
func (e *Edited) Replay(ctx context.Context, again bool) (Resolution, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	n, resumed, err := e.resolver.next(ctx, e.DeadLetter, e.on, e.data, again)
	if err != nil || resumed != nil {
		return Resolution{resumed, true}, err
	}
	return e.resolver.replay(ctx, e.DeadLetter, n, e.on, e.message, e.Difference)
}

// encode makes a message of an edited text. Fields that the text does not show, such as those of a newer version, are as in the
// original.
func encode(on bus.Subject, original, edited []byte) ([]byte, error) {
	if on.Kind == bus.Event {
		return encodeEvent(on, original, edited)
	}
	m := request.NewMessage(on.Kind)
	if err := protojson.Unmarshal(edited, m); err != nil {
		return nil, err
	}
	if err := keepUnknown(original, m); err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// encodeEvent makes an event of an edited payload. The time of the request is the original's; the rest is in the subject.
func encodeEvent(on bus.Subject, original, edited []byte) ([]byte, error) {
	if err := checkPayload(on, edited); err != nil {
		return nil, err
	}
	var flat bytes.Buffer
	if err := json.Compact(&flat, edited); err != nil {
		return nil, err
	}
	was := &tiebackv1.Event{}
	_ = proto.Unmarshal(original, was) // a malformed original has no time
	is := &tiebackv1.Event{CompanyId: on.Company, ErpRequestId: on.Request, Type: on.Type, RequestedAt: was.RequestedAt, Payload: flat.Bytes()}
	if err := keepUnknown(original, is); err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(is)
}

// checkPayload compares the ids and the name in an ERP request with its subject.
func checkPayload(on bus.Subject, edited []byte) error {
	var request struct {
		ID          json.Number `json:"id"`
		CompanyID   json.Number `json:"company_id"`
		RequestName string      `json:"request_name"`
	}
	if err := json.Unmarshal(edited, &request); err != nil {
		return fmt.Errorf("it is not an ERP request: %w", err)
	}
	row, known := catalogue.Lookup(request.RequestName)
	switch {
	case request.ID != "" && request.ID.String() != fmt.Sprint(on.Request):
		return fmt.Errorf("its id is %s, the request's is %d", request.ID, on.Request)
	case request.CompanyID != "" && request.CompanyID.String() != fmt.Sprint(on.Company):
		return fmt.Errorf("its company_id is %s, the dead letter's is %d", request.CompanyID, on.Company)
	case request.RequestName != "" && (!known || row.Name != on.Type):
		return fmt.Errorf("its request_name is %q, the dead letter's type is %s", request.RequestName, on.Type)
	}
	return nil
}

// sameDetails refuses a message with a request detail that the original does not have. A malformed original is not compared.
func (d *Draft) sameDetails(message []byte) error {
	if check(d.on, d.data) != nil {
		return nil
	}
	own := details(d.on, d.data)
	for _, id := range details(d.on, message) {
		if !slices.Contains(own, id) {
			return fmt.Errorf("request detail %d is not in the original message", id)
		}
	}
	return nil
}

// sameTime refuses a message with another time of the request. The time orders the company's requests, and a replay has the
// same order as its request. A malformed original is not compared.
func (d *Draft) sameTime(message []byte) error {
	if check(d.on, d.data) == nil && !proto.Equal(created(d.on, d.data), created(d.on, message)) {
		return errors.New("the time at which Procore created the request can't be edited")
	}
	return nil
}

// created returns the time at which Procore created the request of a message.
func created(s bus.Subject, data []byte) *timestamppb.Timestamp {
	m := request.NewMessage(s.Kind)
	_ = proto.Unmarshal(data, m) // it was checked
	switch m := m.(type) {
	case *tiebackv1.Delivery:
		return m.OccurredAt
	case *tiebackv1.Event:
		return m.RequestedAt
	case *tiebackv1.Outcome:
		return m.RequestedAt
	}
	return nil
}

// details returns the request details that a message would close.
func details(s bus.Subject, data []byte) []int64 {
	var ids []int64
	switch s.Kind {
	case bus.Event:
		e := &tiebackv1.Event{}
		_ = proto.Unmarshal(data, e) // it was checked
		return procore.RequestDetails(e.Payload)
	case bus.Outcome:
		o := &tiebackv1.Outcome{}
		_ = proto.Unmarshal(data, o) // it was checked
		for _, c := range o.CloseOuts {
			if c.RequestDetailId != 0 {
				ids = append(ids, c.RequestDetailId)
			}
		}
	}
	return ids
}

// reapply makes the edited message of the original and the stored difference.
func reapply(on bus.Subject, original []byte, difference string) ([]byte, error) {
	edited, err := patch(text(on, original), difference)
	if err != nil {
		return nil, err
	}
	return encode(on, original, []byte(edited))
}
