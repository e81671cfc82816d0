package bustest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
	"github.com/tieback/tieback/pkg/state"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func TestMain(m *testing.M) { bustest.VerifyNoLeaks(m) }

func delivery(request int64) *nats.Msg {
	return bus.IfAbsent(&nats.Msg{Subject: bus.For(bus.Delivery, "", 7, request).String(), Data: []byte("x")})
}

// A message that is published several times, alone or in a batch, is stored once, and does not affect other messages.
func TestDuplicatesAreStoredOnce(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	var accepted, duplicate atomic.Int64
	var all sync.WaitGroup
	for i := range 400 {
		all.Go(func() {
			switch err := b.Publisher(bus.Delivery).Publish(t.Context(), delivery(int64(i%100))); {
			case err == nil:
				accepted.Add(1)
			case errors.Is(err, bus.ErrDuplicate):
				duplicate.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	s, err := b.JetStream().Stream(t.Context(), bus.Delivery.Stream())
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().State.Msgs; got != 100 || accepted.Load()+duplicate.Load() != 400 || accepted.Load() > 100 {
		t.Errorf("stored %d, accepted %d, duplicate %d; want 100 stored", got, accepted.Load(), duplicate.Load())
	}
}

func publish(t *testing.T, b *bus.Bus, n int) {
	t.Helper()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := b.Publisher(bus.Delivery).Publish(t.Context(), delivery(int64(i+1))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// consume runs a consumer until stop returns true.
func consume(t *testing.T, b *bus.Bus, c bus.Consumer, stop func() bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.Consume(ctx, c) }()
	deadline := time.Now().Add(20 * time.Second)
	for !stop() && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !stop() {
		t.Error("stop did not return true within 20 s")
	}
}

func TestErrorClasses(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	publish(t, b, 5)
	var mu sync.Mutex
	calls, deadLettered := map[int64]int{}, map[int64]error{}
	verdict := map[int64]func(n int) error{
		1: func(int) error { return nil },
		2: func(int) error { return fault.Permanentf("no") },
		3: func(n int) error { // succeeds on the third attempt
			if n < 3 {
				return fault.New(fault.Transient, errors.New("not now"))
			}
			return nil
		},
		4: func(int) error { panic("poison") },
		5: func(n int) error { // a throttled attempt does not count
			if n < 8 {
				return fault.Wait(time.Millisecond, errors.New("quota"))
			}
			return nil
		},
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(deadLettered) }
	consume(t, b, bus.Consumer{
		Kind: bus.Delivery, Name: "test", Attempts: 4, Backoff: 10 * time.Millisecond, RetryFor: time.Nanosecond,
		Handle: func(_ context.Context, m bus.Message) error {
			mu.Lock()
			calls[m.Subject.Request]++
			n := calls[m.Subject.Request]
			mu.Unlock()
			return verdict[m.Subject.Request](n)
		},
		GiveUp: func(_ context.Context, m bus.Message, err error) error {
			mu.Lock()
			defer mu.Unlock()
			deadLettered[m.Subject.Request] = err
			return nil
		},
	}, func() bool { mu.Lock(); ok := calls[5] >= 8 && calls[3] >= 3; mu.Unlock(); return ok && count() == 2 })
	if deadLettered[2] == nil || deadLettered[4] == nil {
		t.Errorf("dead-lettered %v; want 2 and 4", deadLettered)
	}
	if calls[1] != 1 || calls[2] != 1 || calls[3] != 3 || calls[4] < 4 || calls[5] != 8 {
		t.Errorf("calls %v", calls)
	}
}

// A message that crashes its process is recognized by the count that is stored before each attempt. Other messages that were
// running at the time are not given up.
func TestPoisonMessageIsGivenUp(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	publish(t, b, 20)
	var mu sync.Mutex
	done, deadLettered, started := map[int64]bool{}, map[int64]bool{}, 0
	consume(t, b, bus.Consumer{
		Kind: bus.Delivery, Name: "test", Backoff: time.Millisecond, AckWait: 500 * time.Millisecond,
		Handle: func(_ context.Context, m bus.Message) error {
			mu.Lock()
			poison := m.Subject.Request == 7
			if poison {
				started++
			}
			crashes := poison || started == 1 && len(done) < 10 // the crash ends other attempts too, once
			if !crashes {
				done[m.Subject.Request] = true
			}
			mu.Unlock()
			if crashes {
				runtime.Goexit() // no ack, nak or error: as if the process had crashed
			}
			return nil
		},
		GiveUp: func(_ context.Context, m bus.Message, _ error) error {
			mu.Lock()
			defer mu.Unlock()
			deadLettered[m.Subject.Request] = true
			return nil
		},
	}, func() bool { mu.Lock(); defer mu.Unlock(); return len(deadLettered) == 1 && len(done) == 19 })
	if !deadLettered[7] || started != 5 {
		t.Errorf("dead-lettered %v after %d starts, want 7 after 5", deadLettered, started)
	}
}

// An attempt that a restart of the process interrupts does not count.
func TestRestartDoesNotCountAsAttempt(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	publish(t, b, 1)
	consumeWith := func(handle bus.Handler, stop func() bool) {
		consume(t, b, bus.Consumer{Kind: bus.Delivery, Name: "test", Attempts: 2, Backoff: time.Millisecond, RetryFor: time.Nanosecond, Handle: handle,
			GiveUp: func(context.Context, bus.Message, error) error { t.Error("given up"); return nil }}, stop)
	}
	for range 6 { // more than Attempts and maxUnfinished
		var began atomic.Bool
		consumeWith(func(ctx context.Context, _ bus.Message) error {
			began.Store(true)
			<-ctx.Done()
			return ctx.Err()
		}, began.Load)
	}
	var done atomic.Bool
	consumeWith(func(context.Context, bus.Message) error { done.Store(true); return nil }, done.Load)
}

func TestConsumeReturnsErrorIfConsumerIsDeleted(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	failed := make(chan error, 1)
	go func() {
		failed <- b.Consume(t.Context(), bus.Consumer{Kind: bus.Delivery, Name: "test", Handle: func(context.Context, bus.Message) error { return nil }})
	}()
	for b.JetStream().DeleteConsumer(t.Context(), bus.Delivery.Stream(), "test") != nil {
		time.Sleep(10 * time.Millisecond)
	}
	select {
	case err := <-failed:
		if err == nil {
			t.Error("ended without an error")
		}
	case <-time.After(10 * time.Second):
		t.Error("still running")
	}
}

func TestDeadLetterContainsMessage(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	m := bus.Message{Subject: bus.For(bus.Event, "create_vendor", 7, 9), RawSubject: "tb.event.export.create_vendor.7.9", Data: []byte("whole"), Attempt: 3, Stream: "S", Sequence: 4}
	for range 2 { // a second call, as after a crash, stores nothing
		if err := b.DeadLetter(t.Context(), "export", m, fault.Permanentf("why")); err != nil {
			t.Fatal(err)
		}
	}
	s, err := b.JetStream().Stream(t.Context(), bus.Dead.Stream())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.GetLastMsgForSubject(t.Context(), "tb.dead.export.create_vendor.7.9")
	if err != nil {
		t.Fatal(err)
	}
	var got tiebackv1.DeadLetter
	if err := proto.Unmarshal(raw.Data, &got); err != nil {
		t.Fatal(err)
	}
	if string(got.Message) != "whole" || got.Stage != "export" || got.Class != tiebackv1.ErrorClass_ERROR_CLASS_PERMANENT || got.Attempts != 3 || got.Error != "why" {
		t.Errorf("dead letter %v", &got)
	}
	if n := s.CachedInfo().State.Msgs; n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
}

// A message whose result can't be reported is redelivered for a day. It has one dead letter, although the broker detects
// duplicates only for ten minutes.
func TestMessageHasOneDeadLetter(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	s, err := b.JetStream().Stream(t.Context(), bus.Dead.Stream())
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.Duplicates = time.Second
	if _, err := b.JetStream().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		m := bus.Message{Subject: bus.For(bus.Outcome, "create_vendor", 7, 9), Data: []byte("whole"), Stream: "S", Sequence: max(uint64(i), 1)}
		if err := b.DeadLetter(t.Context(), "status-reporter", m, fault.Permanentf("why")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond) // longer than the duplicate window
	}
	if n, err := b.LastSequence(t.Context(), bus.Dead); n != 2 || err != nil {
		t.Errorf("%d dead letters of two messages, %v", n, err)
	}
}

// by returns the order key of the n-th request within a second. The ids of later requests are lower.
func by(n int64) order.Key {
	return order.New(time.Date(2026, 12, 1, 10, 0, 0, int(n)*int(time.Microsecond), time.UTC), 1000-n)
}

func TestLinksAndGenerationsNeverGoBack(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	st, ctx := state.Of(b), t.Context()
	for _, l := range []state.Link{{OriginID: "A", Order: by(5)}, {OriginID: "B", Order: by(9)}, {OriginID: "C", Order: by(7)}} {
		if err := st.SaveLink(ctx, 7, "vendor", 35, l); err != nil {
			t.Fatal(err)
		}
	}
	links, err := st.Links(ctx, 7, "vendor")
	if err != nil || links["B"] != 35 || len(links) != 1 {
		t.Errorf("links %v, %v; want B of request 9", links, err)
	}
	for _, r := range []int64{4, 8, 6} {
		if err := st.NextGeneration(ctx, 7, "VENDOR", 35, by(r)); err != nil {
			t.Fatal(err)
		}
	}
	// The same request again, after its time was lost but for the seconds: its generation stays, and so do the keys of the bookings.
	if err := st.NextGeneration(ctx, 7, "VENDOR", 35, order.New(time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC), by(8).Request())); err != nil {
		t.Fatal(err)
	}
	if generation, err := st.Generation(ctx, 7, "VENDOR", 35); err != nil || generation != by(8) {
		t.Errorf("generation %s, %v; want %s", generation, err, by(8))
	}
}

// BenchmarkPublish compares the group-committing publisher with a bare synchronous publish.
func BenchmarkPublish(b *testing.B) {
	data := make([]byte, 1024)
	b.Run("bare", func(b *testing.B) {
		js := bustest.Connect(b).JetStream()
		b.SetParallelism(64)
		var n atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				m := &nats.Msg{Subject: fmt.Sprintf("tb.delivery._._.7.%d", n.Add(1)), Data: data}
				if _, err := js.PublishMsg(context.Background(), m, jetstream.WithExpectLastSequencePerSubject(0)); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("group", func(b *testing.B) {
		p := bustest.Connect(b).Publisher(bus.Delivery)
		b.SetParallelism(64)
		var n atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := p.Publish(context.Background(), bus.IfAbsent(&nats.Msg{Subject: fmt.Sprintf("tb.delivery._._.7.%d", n.Add(1)), Data: data})); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// If a message is too large for its dead letter, the dead letter has its stream and sequence instead.
func TestDeadLetterOfLargeMessage(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	m := bus.Message{Subject: bus.For(bus.Event, "create_vendor", 7, 9), RawSubject: "tb.event.export.create_vendor.7.9", Data: make([]byte, 8<<20), Attempt: 1, Stream: "S", Sequence: 4}
	if err := b.DeadLetter(t.Context(), "export", m, errors.New("not UTF-8: \xff")); err != nil {
		t.Fatal(err)
	}
	s, err := b.JetStream().Stream(t.Context(), bus.Dead.Stream())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.GetLastMsgForSubject(t.Context(), "tb.dead.export.create_vendor.7.9")
	if err != nil {
		t.Fatal(err)
	}
	var got tiebackv1.DeadLetter
	if err := proto.Unmarshal(raw.Data, &got); err != nil || got.Message != nil || got.Stream != "S" || got.StreamSequence != 4 {
		t.Errorf("%v, %v", &got, err)
	}
}

// If two requests write the link of one record concurrently, the newer request's link remains.
func TestNewerLinkWins(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	for i := range int64(50) {
		var both sync.WaitGroup
		for _, l := range []state.Link{{OriginID: "old", Order: by(1)}, {OriginID: "new", Order: by(2)}} {
			both.Go(func() {
				if err := state.Of(b).SaveLink(t.Context(), 7, "vendor", i, l); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		if origin, err := state.Of(b).OriginID(t.Context(), 7, "vendor", i); err != nil || origin != "new" {
			t.Fatalf("vendor %d: %q, %v", i, origin, err)
		}
	}
}

// A link that an operator has deleted (nats kv del) can be written again.
func TestDeletedLinkCanBeWrittenAgain(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	link := func(origin string, request int64) {
		t.Helper()
		if err := state.Of(b).SaveLink(t.Context(), 7, "vendor", 35, state.Link{OriginID: origin, Order: by(request)}); err != nil {
			t.Fatal(err)
		}
	}
	link("A", 1)
	kv, err := b.JetStream().KeyValue(t.Context(), "tieback-state")
	if err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(t.Context(), "link.7.vendor.35"); err != nil {
		t.Fatal(err)
	}
	if origin, err := state.Of(b).OriginID(t.Context(), 7, "vendor", 35); err != nil || origin != "" {
		t.Errorf("%q, %v", origin, err)
	}
	link("B", 2)
	if origin, err := state.Of(b).OriginID(t.Context(), 7, "vendor", 35); err != nil || origin != "B" {
		t.Errorf("%q, %v", origin, err)
	}
}

// A dead letter with its reason is stored for a message and an error of any size. Otherwise the message would be redelivered
// until it counts as a poison message.
func TestDeadLetterOfLongError(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	long := "Procore says: " + strings.Repeat("x", 20<<20)
	for name, c := range map[string]struct {
		request int64
		data    []byte
		cause   error
	}{
		"a long error":             {1, []byte("small"), errors.New(long)},
		"a long user message":      {2, []byte("small"), fault.Permanentf("%s", long)},
		"both, of a large message": {3, make([]byte, 8<<20), &fault.Error{Class: fault.Permanent, UserMessage: long, Err: errors.New(long)}},
		"almost too large":         {4, make([]byte, 8<<20-400), errors.New(long)},
	} {
		subject := bus.For(bus.Event, "create_vendor", 7, c.request)
		m := bus.Message{Subject: subject, RawSubject: subject.String(), Data: c.data, Attempt: 1, Stream: "S", Sequence: uint64(c.request)}
		if err := b.DeadLetter(t.Context(), "export", m, c.cause); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		letter, has, err := b.Last(t.Context(), bus.For(bus.Dead, "create_vendor", 7, c.request))
		if !has || err != nil {
			t.Fatalf("%s: %v, %v", name, has, err)
		}
		var got tiebackv1.DeadLetter
		if err := proto.Unmarshal(letter.Data, &got); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(got.Error, "Procore says: xxx") || len(got.Error)+len(got.UserMessage) > 32<<10 || fault.UserMessage(c.cause, "") != got.UserMessage {
			t.Errorf("%s: an error of %d bytes, a user message of %d: %.60q", name, len(got.Error), len(got.UserMessage), got.Error)
		}
		if whole := len(c.data) < 1<<20; whole != (len(got.Message) == len(c.data)) || whole == strings.Contains(got.Error, "too large to be kept") {
			t.Errorf("%s: %d bytes of the message are kept: %q", name, len(got.Message), got.Error[len(got.Error)-100:])
		}
	}
}

// The text of a handler's error is truncated before it is logged, traced or stored.
func TestErrorOfAttemptIsTruncated(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	publish(t, b, 1)
	cause := &fault.Error{Class: fault.Permanent, Source: fault.FromProcore, Err: errors.New(strings.Repeat("x", 20<<20))}
	var ended atomic.Int64
	check := func(what string, err error) {
		if n := len(err.Error()); n > 20<<10 || fault.SourceOf(err) != fault.FromProcore || !errors.Is(err, cause) {
			t.Errorf("%s has an error of %d bytes from %q", what, n, fault.SourceOf(err))
		}
		ended.Add(1)
	}
	consume(t, b, bus.Consumer{
		Kind: bus.Delivery, Name: "test", Handle: func(context.Context, bus.Message) error { return cause },
		GiveUp:  func(_ context.Context, _ bus.Message, err error) error { check("the dead letter", err); return nil },
		Observe: func(_ bus.Message, _ time.Duration, _ string, err error) { check("the log", err) },
	}, func() bool { return ended.Load() == 2 })
}
