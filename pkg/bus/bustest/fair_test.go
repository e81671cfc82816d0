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

// counts counts messages by company.
type counts struct {
	mu          sync.Mutex
	done        map[int64]int
	attempts    map[int64]int
	redelivered int
}

func newCounts() *counts { return &counts{done: map[int64]int{}, attempts: map[int64]int{}} }

func (s *counts) add(m bus.Message, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts[m.Subject.Company]++
	if done {
		s.done[m.Subject.Company]++
	}
	if m.Redelivered || m.Attempt != 1 {
		s.redelivered++
	}
}

// has reports whether n messages of the company are done.
func (s *counts) has(company int64, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done[company] >= n
}

// The ERP of one company hangs and occupies all its handlers, and its backlog is larger than the queue. A company whose messages
// are behind that backlog is not delayed.
func TestHangingBacklogDoesNotDelayOthers(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	backlog(t, b, 1, 500)
	backlog(t, b, 2, 20)
	s := newCounts()
	consume(t, b, bus.Consumer{
		Kind: bus.Delivery, Name: "test", Concurrency: 8, Prefetch: 50,
		Handle: func(ctx context.Context, m bus.Message) error {
			if m.Subject.Company == 1 {
				<-ctx.Done()
				return ctx.Err()
			}
			s.add(m, true)
			return nil
		},
	}, func() bool { return s.has(2, 20) })
}

// A message that was released because the queue was full does not have Redelivered set when it comes again, and no attempt is
// counted.
func TestReleasedMessageIsNotRedelivered(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	const n = 300
	createConsumer(t, b)
	backlog(t, b, 1, n)
	s := newCounts()
	gate := make(chan struct{})
	consume(t, b, bus.Consumer{
		Kind: bus.Delivery, Name: "test", Concurrency: 4, Prefetch: 20,
		Handle: func(_ context.Context, m bus.Message) error {
			<-gate
			s.add(m, true)
			return nil
		},
	}, func() bool {
		select {
		case <-gate:
		default:
			if pending(t, b) == n { // all are delivered, and most of them released
				close(gate)
			}
		}
		return s.has(1, n)
	})
	if s.redelivered > 0 || s.attempts[1] != n {
		t.Errorf("%d of %d messages were Redelivered in %d attempts; want none, and one attempt each", s.redelivered, n, s.attempts[1])
	}
	if n := storedAttempts(t, b); n > 0 {
		t.Errorf("%d records of attempts were written", n)
	}
}

// createConsumer creates the consumer before there are messages: a message that is older than its consumer has Redelivered
// set.
func createConsumer(t *testing.T, b *bus.Bus) {
	t.Helper()
	_, err := b.JetStream().CreateConsumer(t.Context(), bus.Delivery.Stream(), jetstream.ConsumerConfig{
		Durable: "test", FilterSubject: "tb.delivery.>", AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// If a consumer was lost, its messages may have been processed before. Those for which Done returns true are not handled, and
// the others have Redelivered set, without a stored attempt for each.
func TestLostConsumer(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	const n = 300
	backlog(t, b, 1, n)
	s := newCounts()
	consume(t, b, bus.Consumer{
		Kind: bus.Delivery, Name: "test", Concurrency: 4, Prefetch: 20,
		Done:   func(_ context.Context, m bus.Message) (bool, error) { return m.Sequence%3 != 0, nil },
		Handle: func(_ context.Context, m bus.Message) error { s.add(m, true); return nil },
	}, func() bool { return s.has(1, n/3) })
	if s.redelivered != n/3 || s.attempts[1] != n/3 {
		t.Errorf("%d messages were handled, %d of them Redelivered, want %d", s.attempts[1], s.redelivered, n/3)
	}
	if n := storedAttempts(t, b); n > 0 {
		t.Errorf("%d records of attempts were written", n)
	}
}

// pending returns the number of the consumer's unacknowledged messages.
func pending(t *testing.T, b *bus.Bus) int {
	t.Helper()
	c, err := b.JetStream().Consumer(t.Context(), bus.Delivery.Stream(), "test")
	if err != nil {
		return 0 // not created yet
	}
	return c.CachedInfo().NumAckPending
}

// storedAttempts returns the number of messages whose attempts are stored, or were.
func storedAttempts(t *testing.T, b *bus.Bus) int {
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

// While a company's rate limit is used up, its messages are not attempted one by one, and another company's messages are
// processed.
func TestThrottledCompanyIsPaused(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	backlog(t, b, 1, 200)
	backlog(t, b, 2, 200)
	s := newCounts()
	var mu sync.Mutex
	var until time.Time // end of the rate limit window; zero: no window is open
	early := 0
	consume(t, b, bus.Consumer{
		Kind: bus.Delivery, Name: "test", Concurrency: 16,
		Handle: func(_ context.Context, m bus.Message) error {
			if m.Subject.Company == 2 {
				s.add(m, true)
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			if until.IsZero() {
				until = time.Now().Add(time.Second)
			}
			left := time.Until(until)
			s.add(m, left <= 0)
			if left <= 0 {
				return nil
			}
			early++
			return fault.Wait(left, errors.New("the rate limit is used up"))
		},
	}, func() bool { return s.has(1, 200) && s.has(2, 200) })
	if early > 8 { // the messages that were running when the limit was reached may come early
		t.Errorf("%d messages were attempted while the limit was used up, want at most half of the concurrency of 16", early)
	}
}

// Throttled companies fill the queue and run nothing. A company whose messages are behind those messages is served at once.
func TestThrottledCompaniesDoNotDelayOthers(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	const throttled, each = 6, 60
	for c := range int64(throttled) {
		backlog(t, b, c+1, each)
	}
	s := newCounts()
	late := false
	consume(t, b, bus.Consumer{
		Kind: bus.Delivery, Name: "test", Concurrency: 16, Prefetch: 100,
		Handle: func(_ context.Context, m bus.Message) error {
			s.add(m, m.Subject.Company == 99)
			if m.Subject.Company == 99 {
				return nil
			}
			return fault.Wait(10*time.Minute, errors.New("the rate limit is used up"))
		},
	}, func() bool {
		if !late && pending(t, b) >= 100 {
			time.Sleep(1500 * time.Millisecond) // an open pull ends
			late = true
			backlog(t, b, 99, 1)
		}
		return s.has(99, 1)
	})
}
