package demo

import (
	"context"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// tally is what the pipeline's own streams say of each request.
type tally struct {
	mu    sync.Mutex
	calls map[int64]int // Procore calls made for a request alone, by request
}

func newTally() *tally { return &tally{calls: map[int64]int{}} }

func (t *tally) add(request int64, calls int) {
	t.mu.Lock()
	t.calls[request] += calls
	t.mu.Unlock()
}

func (t *tally) of(request int64) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.calls[request]
}

// listen tells the sandbox what it can't see of requests that carry no request detail: that
// they were closed, and that they were dead-lettered. It ends with ctx.
func (s *stage) listen(ctx context.Context) error {
	js := s.pipeline.Bus.JetStream()
	closed, err := js.OrderedConsumer(ctx, bus.Closed.Stream(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		return fmt.Errorf("closed stream: %w", err)
	}
	dead, err := js.OrderedConsumer(ctx, bus.Dead.Stream(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		return fmt.Errorf("dead letter stream: %w", err)
	}
	onClosed, err := closed.Consume(s.closed)
	if err != nil {
		return err
	}
	defer onClosed.Stop()
	onDead, err := dead.Consume(func(m jetstream.Msg) {
		if subject, err := bus.Parse(m.Subject()); err == nil {
			s.sandbox.DeadLettered(subject.Request)
		}
	})
	if err != nil {
		return err
	}
	defer onDead.Stop()
	<-ctx.Done()
	return nil
}

func (s *stage) closed(m jetstream.Msg) {
	var o tiebackv1.Outcome
	if proto.Unmarshal(m.Data(), &o) != nil {
		return // not one of ours
	}
	s.tally.add(o.ErpRequestId, int(o.ProcoreCalls))
	s.sandbox.Closed(o.ErpRequestId)
}
