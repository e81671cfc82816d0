package bus

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/fault"
)

// memory is a broker with a fixed value or error for reads and a fixed error for writes. It counts the writes.
type memory struct {
	note    string // the stored attempts of every message
	unread  error
	refuses error
	written int
}

type reads struct {
	jetstream.Stream
	*memory
}

type writes struct {
	jetstream.JetStream
	*memory
}

func (m reads) CachedInfo() *jetstream.StreamInfo { return &jetstream.StreamInfo{} }

func (m reads) GetLastMsgForSubject(context.Context, string) (*jetstream.RawStreamMsg, error) {
	return &jetstream.RawStreamMsg{Data: []byte(m.note)}, m.unread
}

func (m writes) PublishMsg(context.Context, *nats.Msg, ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
	m.written++
	return &jetstream.PubAck{}, m.refuses
}

// delivered is a message that records its redelivery delay.
type delivered struct {
	jetstream.Msg
	back time.Duration // -1: it was not released
}

func (d *delivered) Subject() string      { return "tb.delivery._._.7.9" }
func (d *delivered) Headers() nats.Header { return nil }
func (d *delivered) Data() []byte         { return nil }
func (d *delivered) Ack() error           { return nil }
func (d *delivered) NakWithDelay(after time.Duration) error {
	d.back = after
	return nil
}

// repeat processes a redelivered message with the broker m, and returns it with its redelivery delay.
func repeat(t *testing.T, m *memory, handle Handler) *delivered {
	t.Helper()
	b := &Bus{log: zap.NewNop(), bucket: &Bucket{stream: reads{memory: m}, publisher: newPublisher(writes{memory: m}, reads{memory: m}, &requests{})}}
	defer b.bucket.publisher.close()
	c := Consumer{Name: "test", Kind: Delivery, AckWait: time.Minute, Handle: handle}
	c.defaults()
	d := newDispatcher(b, c)
	msg := &delivered{back: -1}
	meta := &jetstream.MsgMetadata{Stream: Delivery.Stream(), Sequence: jetstream.SequencePair{Stream: 4}, Timestamp: time.Now()}
	d.process(t.Context(), &prefetched{Msg: msg, MsgMetadata: meta, subject: For(Delivery, "", 7, 9), redelivered: true})
	return msg
}

// If the attempts at a message can't be read, or the new attempt can't be counted, no attempt is made and the stored attempts do
// not change: only their count ends a poison message.
func TestNoAttemptWithoutCount(t *testing.T) {
	for name, m := range map[string]*memory{
		"not read":    {unread: errors.New("no answer")},
		"not counted": {note: `{"done":3,"unfinished":3}`, refuses: &jetstream.APIError{Code: 400, ErrorCode: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			tries := 0
			if m.refuses != nil {
				tries = 1 // the count itself
			}
			msg := repeat(t, m, func(context.Context, Message) error {
				t.Error("an attempt was made")
				return nil
			})
			if m.written != tries {
				t.Errorf("%d writes, want %d: the stored attempts would be overwritten", m.written, tries)
			}
			if msg.back < time.Second || msg.back > 2*time.Second {
				t.Errorf("it is redelivered after %v, want about a second", msg.back)
			}
		})
	}
}

// The wait that a connector asks for is limited to maxWait.
func TestWaitIsLimited(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{0: minWait, time.Minute: time.Minute, 365 * 24 * time.Hour: maxWait} {
		msg := repeat(t, &memory{note: "{}"}, func(context.Context, Message) error { return fault.Wait(asked, errors.New("busy")) })
		if msg.back < want || msg.back > want+want/5 {
			t.Errorf("with a wait of %v it is redelivered after %v", asked, msg.back)
		}
	}
}

// Malformed stored attempts count as one unfinished attempt, and do not block the message.
func TestMalformedAttempts(t *testing.T) {
	var got Message
	repeat(t, &memory{note: "?"}, func(_ context.Context, m Message) error { got = m; return nil })
	if got.Attempt != 1 || got.Isolated {
		t.Errorf("processed as %+v, want the first attempt", got)
	}
}

// The handler of a suspect sees that it runs isolated.
func TestSuspectIsIsolated(t *testing.T) {
	for note, want := range map[string]bool{`{"done":0,"unfinished":1}`: false, `{"done":0,"unfinished":2}`: true} {
		repeat(t, &memory{note: note}, func(_ context.Context, m Message) error {
			if m.Isolated != want {
				t.Errorf("%s: Isolated is %v", note, m.Isolated)
			}
			return nil
		})
	}
}
