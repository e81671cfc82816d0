package dead

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/payload"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// ErrUnworkable says that a letter's message can't be replayed as it is: it would not be
// understood again. Some such can be edited, others only discarded; the text says which.
var ErrUnworkable = errors.New("can't be replayed")

// ErrForgotten says that a message that was too large to be kept with its letter has grown
// older than its stream keeps messages.
var ErrForgotten = errors.New("its stream has forgotten the message")

// message finds what died, wherever it is kept, and the subject that it came on.
func (d *Desk) message(ctx context.Context, l request.DeadLetter) (bus.Subject, []byte, error) {
	s, err := bus.Parse(l.Subject)
	if err != nil {
		return s, nil, fmt.Errorf("letter %d %w, nor edited: %w; discard it", l.ID, ErrUnworkable, err)
	}
	if s.Kind != bus.Delivery && s.Kind != bus.Event && s.Kind != bus.Outcome {
		return s, nil, fmt.Errorf("letter %d %w, nor edited: nobody works a message of kind %s; discard it", l.ID, ErrUnworkable, s.Kind)
	}
	if len(l.Message) > 0 {
		return s, l.Message, nil
	}
	stream, err := d.Bus.JetStream().Stream(ctx, l.Stream)
	if err != nil {
		return s, nil, err
	}
	m, err := stream.GetMsg(ctx, l.StreamSequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return s, nil, fmt.Errorf("letter %d %w: %w (%s, %d); discard it", l.ID, ErrUnworkable, ErrForgotten, l.Stream, l.StreamSequence)
	}
	if err != nil {
		return s, nil, err
	}
	return s, m.Data, nil
}

// check says why a message would not be understood on its subject; nil: it would.
func check(s bus.Subject, data []byte) error {
	msg := bus.Message{Subject: s, Data: data}
	switch s.Kind {
	case bus.Event:
		e := &tiebackv1.Event{}
		if err := bus.Decode(msg, e); err != nil {
			return err
		}
		if e.Type != s.Type {
			return fmt.Errorf("the event is a %q, its subject says %s", e.Type, s.Type)
		}
		_, err := payload.Parse(e.Payload)
		return err
	case bus.Outcome:
		return bus.Decode(msg, &tiebackv1.Outcome{})
	}
	return bus.Decode(msg, &tiebackv1.Delivery{})
}

// text is a message as people read and edit it: an event is its payload, all else is the whole
// message as JSON. What does not parse is a quoted string of Go's. The same message has the same
// text always: kept differences are applied to it.
func text(s bus.Subject, data []byte) string {
	raw := data
	switch s.Kind {
	case bus.Event:
		e := &tiebackv1.Event{}
		if proto.Unmarshal(data, e) == nil {
			raw = e.Payload
		}
	default:
		if m := request.Blank(s.Kind); proto.Unmarshal(data, m) == nil && len(data) > 0 {
			raw, _ = protojson.Marshal(m) // not to be marshalled: shown as it is
		}
	}
	if pretty, ok := indent(raw); ok {
		return pretty
	}
	if utf8.Valid(raw) && len(raw) > 0 {
		return string(bytes.TrimRight(raw, "\n")) + "\n"
	}
	return quoted(raw)
}

// indent gives JSON one form, whatever blanks it came with; numbers stay as they are written.
func indent(raw []byte) (string, bool) {
	var flat, pretty bytes.Buffer
	if json.Compact(&flat, raw) != nil || json.Indent(&pretty, flat.Bytes(), "", "  ") != nil {
		return "", false
	}
	return pretty.String() + "\n", true
}

// Text is a letter's message for people to read: see Draft.Text; what lies on no subject of ours
// is a quoted string. The error says why it can't be replayed as it is; nil: it can.
func (d *Desk) Text(ctx context.Context, l request.DeadLetter) (string, error) {
	s, data, err := d.message(ctx, l)
	if err != nil {
		return quoted(l.Message), err
	}
	return text(s, data), check(s, data)
}

func quoted(raw []byte) string { return strconv.QuoteToASCII(string(raw)) + "\n" }
