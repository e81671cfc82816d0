package bus

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus/scheduler"
	"github.com/tieback/tieback/pkg/fault"
)

// message returns the message as its handler sees it.
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
			r.saveHistory(ctx, msg, *history) // a restart does not count as an attempt
		}
		r.keepUnfinished(h)
		endSpan(span, msg.Attempt, "unfinished", err)
		return
	}
	verdict := r.settle(ctx, h, msg, history, err)
	endSpan(span, msg.Attempt, verdict, err)
	r.Observe(msg, took, verdict, err)
}

// attempt counts the attempt, then runs the handler. A redelivered message is counted before the handler starts, so that
// a poison message is recognized after the crash. It returns the history before the attempt; nil: it could not be read
// or written, and must not be overwritten.
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
			return history, err // the caller reverts the count, which may have been stored
		}
		return nil, err
	}
	return history, r.handle(ctx, *msg)
}

// history reads the attempts at a redelivered message, and sets msg.Attempt.
func (r *dispatcher) history(ctx context.Context, msg *Message) (*Attempts, error) {
	h, found, err := r.bus.attempts(ctx, r.attemptKey(*msg))
	if err != nil {
		return nil, fault.Wait(r.Backoff, err)
	}
	if !found { // the first attempt was not stored and left no result, so it counts as unfinished
		h.Unfinished = 1
	}
	msg.Attempt = h.Done + 1
	if h.Unfinished >= maxUnfinished {
		return &h, fault.New(fault.Permanent, fmt.Errorf("%d attempts did not end: the message may crash the process that handles it", h.Unfinished))
	}
	return &h, nil
}

func (r *dispatcher) attemptKey(m Message) AttemptKey {
	return AttemptKey{Stream: m.Stream, Consumer: r.Name, Sequence: m.Sequence}
}

// recordStart stores that an attempt starts. It is called after the wait for the quarantine: a message that waits must
// not be blamed for a crash that another one causes.
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

// saveHistory stores the history of a message that is redelivered. If the write is lost, the attempt counts as
// unfinished, which is harmless.
func (r *dispatcher) saveHistory(ctx context.Context, msg Message, h Attempts) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if msg.Redelivered || h != (Attempts{}) {
		_ = r.bus.saveAttempts(ctx, r.attemptKey(msg), h)
	}
}

// handle runs the handler, unless Done says that the message was processed before. A panic is a transient error.
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

// settle acks or releases a message by the error of its attempt, and returns the verdict for logs and metrics: done,
// throttled, dead or again.
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
		m.result = scheduler.Result{Throttled: true, Wait: min(max(fault.RetryAfter(err), minWait), maxWait)}
		_ = m.NakWithDelay(jitter(m.result.Wait))
		return "throttled"
	}
	retry := msg.Attempt < r.Attempts || time.Since(msg.Stored) < r.RetryFor
	if class == fault.Permanent || !retry {
		giveUp := r.GiveUp(ctx, msg, err)
		if giveUp == nil {
			r.ack(ctx, m, msg)
			return "dead"
		}
		r.bus.log.Error("could not write the dead letter, retrying", zap.String("subject", msg.Raw), zap.Error(giveUp))
	}
	m.result.Failed = class != fault.Permanent
	var before Attempts
	if h != nil {
		before = *h
	}
	r.saveHistory(ctx, msg, Attempts{Done: msg.Attempt}.failed(err, before))
	_ = m.NakWithDelay(jitter(r.delay(msg.Attempt)))
	return "again"
}

const (
	// minWait is the shortest redelivery delay of a throttled message.
	minWait = 100 * time.Millisecond
	// maxWait is the longest one: Procore's longest rate limit window, and a margin.
	maxWait = time.Hour + time.Minute
)

func (r *dispatcher) ack(ctx context.Context, m *prefetched, msg Message) {
	_ = m.Ack() // a lost ack causes a redelivery, which every stage tolerates
	if msg.Redelivered {
		_ = r.bus.forgetAttempts(ctx, r.attemptKey(msg))
	}
}

// delay returns the delay before the attempt after the n-th: 1, 2, 4, 8, 16, 32, 60, 60 … Backoffs.
func (r *dispatcher) delay(n int) time.Duration {
	return time.Duration(min(1<<min(n-1, 6), 60)) * r.Backoff
}

// jitter adds up to a fifth, so that messages that failed together are not redelivered together.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration(rand.Int64N(int64(d)/5+1))
}
