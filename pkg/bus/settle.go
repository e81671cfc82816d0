package bus

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/fault"
)

// message is a message for its handler.
func (h *prefetched) message() Message {
	return Message{
		Subject: h.subject, Raw: h.Subject(), Data: h.Data(), Attempt: 1, Redelivered: h.redelivered,
		Stored: h.Timestamp, Stream: h.Stream, Sequence: h.sequence(),
	}
}

func (r *dispatcher) work(ctx context.Context, h *prefetched) {
	msg := h.message()
	msg.End = &End{}
	ctx, span := startSpan(ctx, r.Name, h)
	start := time.Now()
	history, err := r.attempt(ctx, h, &msg)
	err = truncateError(err)
	took := time.Since(start)
	if fault.Stopped(ctx, err) {
		if history != nil {
			r.saveHistory(ctx, msg, *history) // a restart is no attempt
		}
		r.keepUnfinished(h)
		endSpan(span, msg.Attempt, "unfinished", err)
		return
	}
	verdict := r.settle(ctx, h, msg, history, err)
	endSpan(span, msg.Attempt, verdict, err)
	r.Observe(msg, took, verdict, err)
}

// attempt counts, then runs the handler. The count is written before the handler starts,
// so that a message that kills the process is known when it comes again. It returns the
// history as it was before; nil: it could not be read or written, and must be left as it is.
func (r *dispatcher) attempt(ctx context.Context, h *prefetched, msg *Message) (*Attempts, error) {
	if h.malformed != nil {
		return &Attempts{}, fault.New(fault.Permanent, h.malformed)
	}
	if !msg.Redelivered {
		return &Attempts{}, r.handle(ctx, *msg)
	}
	history, err := r.history(ctx, msg)
	if err != nil {
		return history, err
	}
	if history.Unfinished >= quarantineAfter {
		defer r.bus.quarantine.enter(msg.Subject.Company)()
		msg.Isolated = true
	}
	if err := r.recordStart(ctx, msg, *history); err != nil {
		if fault.Stopped(ctx, err) {
			return history, err // if it was written all the same, it is taken back
		}
		return nil, err
	}
	return history, r.handle(ctx, *msg)
}

// history reads what is known of a message that was begun before.
func (r *dispatcher) history(ctx context.Context, msg *Message) (*Attempts, error) {
	h, noted, err := r.bus.attempts(ctx, r.attemptKey(*msg))
	if err != nil {
		return nil, fault.Wait(r.Backoff, err)
	}
	if !noted { // nothing is noted of a first attempt, and it has not ended
		h.Unfinished = 1
	}
	msg.Attempt = h.Done + 1
	if h.Unfinished >= maxUnfinished {
		return &h, fault.New(fault.Permanent, fmt.Errorf("%d attempts did not end: it may kill the process that works it", h.Unfinished))
	}
	return &h, nil
}

func (r *dispatcher) attemptKey(m Message) AttemptKey {
	return AttemptKey{Stream: m.Stream, Consumer: r.Name, Sequence: m.Sequence}
}

// begin notes that an attempt starts: not before it does, or who waits for its turn while
// another kills the process would be blamed.
func (r *dispatcher) recordStart(ctx context.Context, msg *Message, h Attempts) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	h.Unfinished++
	if err := r.bus.saveAttempts(ctx, r.attemptKey(*msg), h); err != nil {
		return fault.Wait(r.Backoff, err)
	}
	return nil
}

// note keeps a message's history after a verdict that brings it back. If the note is lost,
// the message counts as unfinished once, which it may be a few times.
func (r *dispatcher) saveHistory(ctx context.Context, msg Message, h Attempts) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if msg.Redelivered || h != (Attempts{}) {
		_ = r.bus.saveAttempts(ctx, r.attemptKey(msg), h)
	}
}

func (r *dispatcher) handle(ctx context.Context, msg Message) (err error) {
	msg.Redelivered = msg.Redelivered || r.predatesConsumer(msg.Stored)
	if r.Done != nil && (msg.Redelivered || time.Since(msg.Stored) > min(firstDeliveryAge, r.RetryFor)) {
		if done, err := r.Done(ctx, msg); done || err != nil {
			return err
		}
	}
	defer func() {
		if p := recover(); p != nil {
			err = fault.New(fault.Transient, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	return r.Handle(ctx, msg)
}

// settle is the one place where an error becomes an ack.
func (r *dispatcher) settle(ctx context.Context, m *prefetched, msg Message, h *Attempts, err error) string {
	if err == nil {
		r.ack(ctx, m, msg)
		return "done"
	}
	class := fault.ClassOf(err)
	if class == fault.Throttled {
		if h != nil {
			r.saveHistory(ctx, msg, Attempts{Done: h.Done}.failed(err, *h))
		}
		m.result = result{throttled: true, wait: min(max(fault.RetryAfter(err), minWait), maxWait)}
		_ = m.NakWithDelay(jitter(m.result.wait))
		return "throttled"
	}
	patient := msg.Attempt < r.Attempts || time.Since(msg.Stored) < r.RetryFor
	if class == fault.Permanent || !patient {
		giveUp := r.GiveUp(ctx, msg, err)
		if giveUp == nil {
			r.ack(ctx, m, msg)
			return "dead"
		}
		r.bus.log.Error("could not dead-letter, will try again", zap.String("subject", msg.Raw), zap.Error(giveUp))
	}
	m.result.failed = class != fault.Permanent
	var before Attempts
	if h != nil {
		before = *h
	}
	r.saveHistory(ctx, msg, Attempts{Done: msg.Attempt}.failed(err, before))
	_ = m.NakWithDelay(jitter(r.delay(msg.Attempt)))
	return "again"
}

const (
	// minWait is the shortest wait of a throttled message.
	minWait = 100 * time.Millisecond
	// maxWait is the longest, whatever is asked for: the longest of Procore's limits, and a bit.
	maxWait = time.Hour + time.Minute
)

func (r *dispatcher) ack(ctx context.Context, m *prefetched, msg Message) {
	_ = m.Ack() // a lost ack means one more delivery, and every stage bears that
	if msg.Redelivered {
		_ = r.bus.forgetAttempts(ctx, r.attemptKey(msg))
	}
}

// delay before the attempt after the n-th: 1, 2, 4, 8, 16, 32, 60, 60 … Backoffs.
func (r *dispatcher) delay(n int) time.Duration {
	return time.Duration(min(1<<min(n-1, 6), 60)) * r.Backoff
}

// jitter adds up to a fifth, so that what failed together does not come back together.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration(rand.Int64N(int64(d)/5+1))
}
