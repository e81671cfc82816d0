package bus

import (
	"context"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// waiting is a message that the broker redelivers after a delay.
type waiting struct {
	subject Subject
	reply   string // the subject for acks of the message
}

// maxWaiting bounds the map of waiting messages. A message that is not in the map can't be retried early.
const maxWaiting = 100_000

// retryLater has the broker redeliver a message after the backoff, or earlier, if its request arrives on Consumer.Retry.
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

// retryNow releases the waiting messages of a request without a delay. The broker ignores a second release of a
// message that it has already redelivered.
func (d *dispatcher) retryNow(s Subject) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for seq, w := range d.waiting {
		if w.subject.Company != s.Company || w.subject.Request != s.Request {
			continue
		}
		delete(d.waiting, seq)
		if err := d.bus.nc.PublishMsg(&nats.Msg{Subject: w.reply, Data: []byte("-NAK")}); err != nil {
			d.bus.log.Warn("could not retry a message early", zap.String("subject", w.subject.String()), zap.Error(err))
		}
	}
}
