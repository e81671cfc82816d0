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

// ErrNotReplayable is returned for a message that no stage would accept. The error's text says whether it can be
// edited, or only discarded.
var ErrNotReplayable = errors.New("can't be replayed")

// ErrExpired is returned for a message that was too large to be stored with its dead letter, and that its stream no
// longer has.
var ErrExpired = errors.New("its stream no longer has the message")

// message returns the failed message and its subject.
func (r *Resolver) message(ctx context.Context, l request.DeadLetter) (bus.Subject, []byte, error) {
	s, err := bus.Parse(l.Subject)
	if err != nil {
		return s, nil, fmt.Errorf("dead letter %d %w or edited: %w; discard it", l.ID, ErrNotReplayable, err)
	}
	if s.Kind != bus.Delivery && s.Kind != bus.Event && s.Kind != bus.Outcome {
		return s, nil, fmt.Errorf("dead letter %d %w or edited: no stage reads messages of kind %s; discard it", l.ID, ErrNotReplayable, s.Kind)
	}
	if len(l.Message) > 0 {
		return s, l.Message, nil
	}
	stream, err := r.Bus.JetStream().Stream(ctx, l.Stream)
	if err != nil {
		return s, nil, err
	}
	m, err := stream.GetMsg(ctx, l.StreamSequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return s, nil, fmt.Errorf("dead letter %d %w: %w (%s, %d); discard it", l.ID, ErrNotReplayable, ErrExpired, l.Stream, l.StreamSequence)
	}
	if err != nil {
		return s, nil, err
	}
	return s, m.Data, nil
}

// check returns why no stage would accept a message on its subject, or nil.
func check(s bus.Subject, data []byte) error {
	msg := bus.Message{Subject: s, Data: data}
	switch s.Kind {
	case bus.Event:
		e := &tiebackv1.Event{}
		if err := bus.Decode(msg, e); err != nil {
			return err
		}
		if e.Type != s.Type {
			return fmt.Errorf("the event's type is %q, but its subject has %s", e.Type, s.Type)
		}
		_, err := payload.Parse(e.Payload)
		return err
	case bus.Outcome:
		return bus.Decode(msg, &tiebackv1.Outcome{})
	}
	return bus.Decode(msg, &tiebackv1.Delivery{})
}

// text returns a message for people to read and edit: an event's payload, any other message as protojson, and a
// malformed message as a quoted Go string. The text of a message never changes, as stored differences are applied to it.
func text(s bus.Subject, data []byte) string {
	raw := data
	switch s.Kind {
	case bus.Event:
		e := &tiebackv1.Event{}
		if proto.Unmarshal(data, e) == nil {
			raw = e.Payload
		}
	default:
		if m := request.NewMessage(s.Kind); proto.Unmarshal(data, m) == nil && len(data) > 0 {
			raw, _ = protojson.Marshal(m) // on error, raw is empty and the result is quoted
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

// indent reformats JSON. It does not change how numbers are written.
func indent(raw []byte) (string, bool) {
	var flat, pretty bytes.Buffer
	if json.Compact(&flat, raw) != nil || json.Indent(&pretty, flat.Bytes(), "", "  ") != nil {
		return "", false
	}
	return pretty.String() + "\n", true
}

// Text returns the message of a dead letter for people to read, as in Draft.Text, or as a quoted string if its subject is
// malformed. The error says why the message can't be replayed unchanged; nil if it can.
func (r *Resolver) Text(ctx context.Context, l request.DeadLetter) (string, error) {
	s, data, err := r.message(ctx, l)
	if err != nil {
		return quoted(l.Message), err
	}
	return text(s, data), check(s, data)
}

func quoted(raw []byte) string { return strconv.QuoteToASCII(string(raw)) + "\n" }
