package bus

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// waiting is a message that the broker redelivers after a delay.
type waiting struct {
	subject Subject
	reply   string    // the subject for acks of the message
	until   time.Time // the end of the delay, at the earliest; then any process may have received the message
}

// maxWaiting bounds the map of waiting messages. A message that is not in the map can't be retried early.
const maxWaiting = 100_000

// retryLater has the broker redeliver a message after the backoff, or earlier, if its request arrives on Consumer.Retry.
func (d *dispatcher) retryLater(p *prefetched, attempt int) {
	delay := jitter(retryDelay(d.Backoff, attempt))
	d.keepWaiting(p.sequence(), waiting{p.subject, p.Reply(), time.Now().Add(delay)})
	_ = p.NakWithDelay(delay)
}

func (d *dispatcher) keepWaiting(sequence uint64, w waiting) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.waiting) >= maxWaiting {
		d.dropExpired(time.Now())
	}
	if len(d.waiting) < maxWaiting {
		d.waiting[sequence] = w
	}
}

// dropExpired removes the messages that another process may have received. The caller holds mu.
func (d *dispatcher) dropExpired(now time.Time) {
	for seq, w := range d.waiting {
		if !now.Before(w.until) {
			delete(d.waiting, seq)
		}
	}
}

// retryAsked has the broker redeliver the messages that Consumer.Retry asks for, until ctx ends.
func (d *dispatcher) retryAsked(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-d.Retry:
			for _, reply := range d.takeWaiting(s, time.Now()) {
				if err := d.bus.nc.PublishMsg(&nats.Msg{Subject: reply, Data: []byte("-NAK")}); err != nil {
					d.bus.log.Warn("could not retry a message early", zap.String("subject", s.String()), zap.Error(err))
				}
			}
		}
	}
}

// takeWaiting removes the messages of a request that still wait for the end of their delay, and returns their replies. A message
// whose delay has ended is left out: another process may have received it, and the broker would deliver it a second time while
// that attempt runs.
func (d *dispatcher) takeWaiting(s Subject, now time.Time) (replies []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dropExpired(now)
	for seq, w := range d.waiting {
		if w.subject.Company == s.Company && w.subject.Request == s.Request {
			delete(d.waiting, seq)
			replies = append(replies, w.reply)
		}
	}
	return replies
}
