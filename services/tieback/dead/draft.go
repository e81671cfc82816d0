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

// ErrEdit says that an edited message can't be taken; the text says why, for whoever edits.
var ErrEdit = errors.New("the edited message can't be taken")

// Draft is a letter's message on the table, to be edited.
type Draft struct {
	Letter request.DeadLetter
	Text   string // what is edited: an event's payload as JSON, any other message as protojson

	desk *Desk
	on   bus.Subject
	data []byte
}

// Edit puts a letter's message on the table. Errors as of Replay: what lies on no subject of ours
// can't be edited either.
func (d *Desk) Edit(ctx context.Context, id uint64) (*Draft, error) {
	l, err := request.ReadDeadLetter(ctx, d.Bus, id)
	if err != nil {
		return nil, err
	}
	on, data, err := d.message(ctx, l)
	if err != nil {
		return nil, err
	}
	return &Draft{Letter: l, Text: text(on, data), desk: d, on: on, data: data}, nil
}

// Edited is a draft with its new text, checked.
type Edited struct {
	*Draft
	Difference string // unified diff from Text; "": nothing was changed but blanks
	message    []byte
}

// Take checks an edited text: it must be understood on the letter's subject, as the same company's
// same request of the same type, and close no other request's buttons. The error is an ErrEdit.
func (r *Draft) Take(edited string) (*Edited, error) {
	message, err := encode(r.on, r.data, []byte(edited))
	if err == nil {
		err = check(r.on, message)
	}
	if err == nil {
		err = r.sameDetails(message)
	}
	if err == nil {
		err = r.sameTime(message)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrEdit, fault.UserMessage(err, err.Error()))
	}
	e := &Edited{Draft: r, message: message}
	after := text(r.on, message)
	e.Difference = udiff.Unified(fmt.Sprint("letter ", r.Letter.ID), "edited", r.Text, after)
	if again, err := redo(r.on, r.data, e.Difference); e.Difference != "" && (err != nil || !bytes.Equal(again, message)) {
		return nil, fmt.Errorf("%w: its difference can't be kept", ErrEdit)
	}
	return e, nil
}

// Replay keeps the difference and sends the edited message; otherwise it is as Desk.Replay. An
// earlier replay that was cut off is sent instead, as it was claimed: see Dealt.Mended.
func (e *Edited) Replay(ctx context.Context, again bool) (Dealt, error) {
	ctx, cancel := context.WithTimeout(ctx, reach)
	defer cancel()
	n, cut, err := e.desk.turn(ctx, e.Letter, e.on, e.data, again)
	if err != nil || cut != nil {
		return Dealt{cut, true}, err
	}
	return e.desk.replay(ctx, e.Letter, n, e.on, e.message, e.Difference)
}

// encode makes a message of a text; what the text does not hold is as in the original, the fields
// that only a newer version knows among it.
func encode(on bus.Subject, original, edited []byte) ([]byte, error) {
	if on.Kind == bus.Event {
		return encodeEvent(on, original, edited)
	}
	m := request.Blank(on.Kind)
	if err := protojson.Unmarshal(edited, m); err != nil {
		return nil, err
	}
	if err := keepUnknown(original, m); err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// encodeEvent wraps a payload in its event: when it was requested is kept, all else the subject says.
func encodeEvent(on bus.Subject, original, edited []byte) ([]byte, error) {
	if err := named(on, edited); err != nil {
		return nil, err
	}
	var flat bytes.Buffer
	if err := json.Compact(&flat, edited); err != nil {
		return nil, err
	}
	was := &tiebackv1.Event{}
	_ = proto.Unmarshal(original, was) // what does not parse says nothing
	is := &tiebackv1.Event{CompanyId: on.Company, ErpRequestId: on.Request, Type: on.Type, RequestedAt: was.RequestedAt, Payload: flat.Bytes()}
	if err := keepUnknown(original, is); err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(is)
}

// named compares what an ERP request says of itself with the subject that it goes on.
func named(on bus.Subject, edited []byte) error {
	var request struct {
		ID          json.Number `json:"id"`
		CompanyID   json.Number `json:"company_id"`
		RequestName string      `json:"request_name"`
	}
	if err := json.Unmarshal(edited, &request); err != nil {
		return fmt.Errorf("it is no ERP request: %w", err)
	}
	row, known := catalogue.Lookup(request.RequestName)
	switch {
	case request.ID != "" && request.ID.String() != fmt.Sprint(on.Request):
		return fmt.Errorf("its id is %s, the request's is %d", request.ID, on.Request)
	case request.CompanyID != "" && request.CompanyID.String() != fmt.Sprint(on.Company):
		return fmt.Errorf("its company_id is %s, the letter's is %d", request.CompanyID, on.Company)
	case request.RequestName != "" && (!known || row.Name != on.Type):
		return fmt.Errorf("its request_name is %q, the letter's type is %s", request.RequestName, on.Type)
	}
	return nil
}

// sameDetails says whether the message names a request detail that the original does not: a
// button that is somebody else's. An original that can't be read names none, and is not asked.
func (r *Draft) sameDetails(message []byte) error {
	if check(r.on, r.data) != nil {
		return nil
	}
	own := details(r.on, r.data)
	for _, id := range details(r.on, message) {
		if !slices.Contains(own, id) {
			return fmt.Errorf("request detail %d is not in the letter's message", id)
		}
	}
	return nil
}

// sameTime refuses another time of the request. It orders the company's requests, and a replay has the
// place of the request itself. An original that can't be read has none to compare with.
func (r *Draft) sameTime(message []byte) error {
	if check(r.on, r.data) == nil && !proto.Equal(created(r.on, r.data), created(r.on, message)) {
		return errors.New("the time is that at which Procore created the request, and can't be edited")
	}
	return nil
}

// created is when Procore created the request of a message, as the message tells it.
func created(s bus.Subject, data []byte) *timestamppb.Timestamp {
	m := request.Blank(s.Kind)
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

// details lists the request details that a message would close.
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

// redo makes the edited message from the original and the difference that was kept.
func redo(on bus.Subject, original []byte, difference string) ([]byte, error) {
	edited, err := patch(text(on, original), difference)
	if err != nil {
		return nil, err
	}
	return encode(on, original, []byte(edited))
}
