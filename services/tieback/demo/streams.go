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

// callCounter counts the Procore calls that were made for one request alone. It is safe for concurrent use.
type callCounter struct {
	mu    sync.Mutex
	calls map[int64]int // by ERP request
}

func newCallCounter() *callCounter { return &callCounter{calls: map[int64]int{}} }

func (t *callCounter) add(request int64, calls int) {
	t.mu.Lock()
	t.calls[request] += calls
	t.mu.Unlock()
}

func (t *callCounter) of(request int64) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.calls[request]
}

// watchStreams reports closed and dead-lettered requests to the sandbox, which can't see this of requests without a request detail. It
// returns when ctx ends.
func (s *demo) watchStreams(ctx context.Context) error {
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
			s.sandbox.ReportDeadLettered(subject.Request)
		}
	})
	if err != nil {
		return err
	}
	defer onDead.Stop()
	<-ctx.Done()
	return nil
}

func (s *demo) closed(m jetstream.Msg) {
	var o tiebackv1.Outcome
	if proto.Unmarshal(m.Data(), &o) != nil {
		return // not an outcome
	}
	s.calls.add(o.ErpRequestId, int(o.ProcoreCalls))
	s.sandbox.ReportClosed(o.ErpRequestId)
}
