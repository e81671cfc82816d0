package bustest_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/fault"
)

// backlog publishes n messages of a company.
func backlog(t *testing.T, b *bus.Bus, company int64, n int) {
	t.Helper()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			m := bus.IfAbsent(&nats.Msg{Subject: bus.For(bus.Delivery, "", company, int64(i+1)).String(), Data: []byte("x")})
			if err := b.Publisher(bus.Delivery).Publish(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// seen is what handlers saw, by company.
type seen struct {
	mu     sync.Mutex
	done   map[int64]int
	tries  map[int64]int
	repeat int
}

func newSeen() *seen { return &seen{done: map[int64]int{}, tries: map[int64]int{}} }

func (s *seen) note(m bus.Message, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries[m.Subject.Company]++
	if done {
		s.done[m.Subject.Company]++
	}
	if m.Redelivered || m.Attempt != 1 {
		s.repeat++
	}
}

func (s *seen) has(company int64, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done[company] >= n
}

// The dead ERP of one company hangs with every handler it may have, before a backlog of more
// than may be held; the company behind it is served as if it were alone.
func TestACompanyBehindAHangingBacklogIsServed(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	backlog(t, b, 1, 500)
	backlog(t, b, 2, 20)
	s := newSeen()
	consume(t, b, bus.Consumer{
		Kind: bus.Delivery, Name: "test", Concurrency: 8, Prefetch: 50,
		Handle: func(ctx context.Context, m bus.Message) error {
			if m.Subject.Company == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			s.note(m, true)
			return nil
		},
	}, func() bool { return s.has(2, 20) })
}

// What was handed back for want of room was never begun: when it comes again it is no repeat,
// and no attempt counts.
func TestWhatWasHandedBackComesAsIfForTheFirstTime(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	const n = 300
	makeConsumer(t, b)
	backlog(t, b, 1, n)
	s := newSeen()
	gate := make(chan struct{})
	consume(t, b, bus.Consumer{
		Kind: bus.Delivery, Name: "test", Concurrency: 4, Prefetch: 20,
		Handle: func(_ context.Context, m bus.Message) error {
			<-gate
			s.note(m, true)
			return nil
		},
	}, func() bool {
		select {
		case <-gate:
		default:
			if pending(t, b) == n { // all are out, most of them handed back
				close(gate)
			}
		}
		return s.has(1, n)
	})
	if s.repeat > 0 || s.tries[1] != n {
		t.Errorf("%d of %d messages came as repeats in %d tries; none was begun twice", s.repeat, n, s.tries[1])
	}
	if kept := notes(t, b); kept > 0 {
		t.Errorf("%d notes of attempts were written", kept)
	}
}

// makeConsumer makes the consumer before there are messages: one that is older than its consumer is a repeat.
func makeConsumer(t *testing.T, b *bus.Bus) {
	t.Helper()
	_, err := b.JetStream().CreateConsumer(t.Context(), bus.Delivery.Stream(), jetstream.ConsumerConfig{
		Durable: "test", FilterSubject: "tb.delivery.>", AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Messages that are older than their consumer may have been worked for one that was lost. Those that are done
// are not handled, and those that are not come as repeats, without a note of attempts for each.
func TestOnlyWhatIsNotDoneIsHandledAfterAConsumerWasLost(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	const n = 300
	backlog(t, b, 1, n)
	s := newSeen()
	consume(t, b, bus.Consumer{
		Kind: bus.Delivery, Name: "test", Concurrency: 4, Prefetch: 20,
		Done:   func(_ context.Context, m bus.Message) (bool, error) { return m.Sequence%3 != 0, nil },
		Handle: func(_ context.Context, m bus.Message) error { s.note(m, true); return nil },
	}, func() bool { return s.has(1, n/3) })
	if s.repeat != n/3 || s.tries[1] != n/3 {
		t.Errorf("%d messages were handled, %d of them as repeats, want %d", s.tries[1], s.repeat, n/3)
	}
	if kept := notes(t, b); kept > 0 {
		t.Errorf("%d notes of attempts were written", kept)
	}
}

// pending is how many messages the consumer has out.
func pending(t *testing.T, b *bus.Bus) int {
	t.Helper()
	c, err := b.JetStream().Consumer(t.Context(), bus.Delivery.Stream(), "test")
	if err != nil {
		return 0 // not made yet
	}
	return c.CachedInfo().NumAckPending
}

// notes counts the notes of attempts.
func notes(t *testing.T, b *bus.Bus) int {
	t.Helper()
	kv, err := b.JetStream().KeyValue(t.Context(), "tieback-state")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := kv.ListKeysFiltered(t.Context(), "attempt.>")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for range keys.Keys() {
		n++
	}
	return n
}

// While a company's quota is spent its messages are not tried one by one, and another's go on.
func TestAThrottledCompanyIsNotTriedOneByOne(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	backlog(t, b, 1, 200)
	backlog(t, b, 2, 200)
	s := newSeen()
	var mu sync.Mutex
	var until time.Time // of the spent window; zero: none was begun
	early := 0
	consume(t, b, bus.Consumer{
		Kind: bus.Delivery, Name: "test", Concurrency: 16,
		Handle: func(_ context.Context, m bus.Message) error {
			if m.Subject.Company == 2 {
				s.note(m, true)
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			if until.IsZero() {
				until = time.Now().Add(time.Second)
			}
			left := time.Until(until)
			s.note(m, left <= 0)
			if left <= 0 {
				return nil
			}
			early++
			return fault.Wait(left, errors.New("the window is spent"))
		},
	}, func() bool { return s.has(1, 200) && s.has(2, 200) })
	if early > 8 { // those that ran at once when the window was found to be spent
		t.Errorf("%d messages were tried while the window was spent, want no more than half of the 16 slots", early)
	}
}

// Companies whose quota is spent fill all the room there is, and run nothing: whoever comes after
// them is served at once, not when a quota is back.
func TestACompanyBehindManyThrottledOnesIsServed(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	const throttled, each = 6, 60
	for c := range int64(throttled) {
		backlog(t, b, c+1, each)
	}
	s := newSeen()
	late := false
	consume(t, b, bus.Consumer{
		Kind: bus.Delivery, Name: "test", Concurrency: 16, Prefetch: 100,
		Handle: func(_ context.Context, m bus.Message) error {
			s.note(m, m.Subject.Company == 99)
			if m.Subject.Company == 99 {
				return nil
			}
			return fault.Wait(10*time.Minute, errors.New("the window is spent"))
		},
	}, func() bool {
		if !late && pending(t, b) >= 100 {
			time.Sleep(1500 * time.Millisecond) // a pull that is open ends
			late = true
			backlog(t, b, 99, 1)
		}
		return s.has(99, 1)
	})
}
