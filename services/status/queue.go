package status

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
)

// queue is a stop's queue while it is looked at.
type queue struct {
	bus.Durable
	Queue
	info   *jetstream.ConsumerInfo
	open   map[uint64]int64 // company by sequence, of the unfinished messages that were looked at
	cutOff bool             // there are more
}

// moment is how long a process may take from the end of one pull to the next.
const moment = 300 * time.Millisecond

func (v *look) queue(ctx context.Context, q *queue) {
	err := v.ask(ctx, q)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound): // it would begin at the start of its stream
		q.Known, q.info = true, &jetstream.ConsumerInfo{}
	case err != nil:
		v.unasked("the queue of "+q.Stop, err)
		return
	}
	if q.Made && q.Unfinished() == 0 {
		return
	}
	if err := v.tail(ctx, q); err != nil {
		v.unasked("what is in the queue of "+q.Stop, err)
	}
}

// ask asks how the consumer stands. That nobody takes its work is believed when it was seen twice.
func (v *look) ask(ctx context.Context, q *queue) error {
	info, err := v.info(ctx, q.Durable)
	if err != nil {
		return err
	}
	q.taken(info)
	if v.Embedded { // whoever was handed something is gone
		q.Taken = false
		return nil
	}
	if !q.Taken && q.Waiting > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(moment):
		}
		if info, err = v.info(ctx, q.Durable); err != nil {
			return err
		}
		q.taken(info)
	}
	return nil
}

func (q *queue) taken(info *jetstream.ConsumerInfo) {
	q.info, q.Known, q.Made = info, true, true
	q.Waiting, q.Out, q.Again = info.NumPending, info.NumAckPending, info.NumRedelivered
	q.Taken = info.NumWaiting > 0 || info.NumAckPending > 0
}

func (v *look) info(ctx context.Context, d bus.Durable) (*jetstream.ConsumerInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, bus.AnswerTimeout)
	defer cancel()
	c, err := v.bus.JetStream().Consumer(ctx, d.Kind.Stream(), d.Name)
	if err != nil {
		return nil, err
	}
	return c.CachedInfo(), nil
}
