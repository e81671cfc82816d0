package bus

import (
	"context"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// waiting is a message that the broker redelivers after a delay.
type waiting struct {
	subject Subject
	reply   string // the subject on which the broker takes its acks
}

// maxWaiting bounds the map of waiting messages. One that is not in it can't be retried before its time.
const maxWaiting = 100_000

// retryLater has the broker redeliver a message after its backoff, or when Consumer.Retry has its request.
func (d *dispatcher) retryLater(p *prefetched, attempt int) {
	d.mu.Lock()
	if len(d.waiting) < maxWaiting {
		d.waiting[p.sequence()] = waiting{p.subject, p.Reply()}
	}
	d.mu.Unlock()
	_ = p.NakWithDelay(jitter(retryDelay(d.Backoff, attempt)))
}

// retryAsked has the broker redeliver the messages that Consumer.Retry asks for, until ctx ends.
func (d *dispatcher) retryAsked(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-d.Retry:
			d.retryNow(s)
		}
	}
}

// retryNow releases the waiting messages of a request without a delay. A second release of a message is allowed: the broker
// ignores it if it has redelivered the message already.
func (d *dispatcher) retryNow(s Subject) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for seq, w := range d.waiting {
		if w.subject.Company != s.Company || w.subject.Request != s.Request {
			continue
		}
		delete(d.waiting, seq)
		if err := d.bus.nc.PublishMsg(&nats.Msg{Subject: w.reply, Data: []byte("-NAK")}); err != nil {
			d.bus.log.Warn("could not start an attempt before its time", zap.String("subject", w.subject.String()), zap.Error(err))
		}
	}
}
