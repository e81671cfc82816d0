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
func (h *held) message() Message {
	return Message{
		Subject: h.subject, Raw: h.Subject(), Data: h.Data(), Attempt: 1, Repeat: h.begun,
		Stored: h.Timestamp, Stream: h.Stream, Sequence: h.sequence(),
	}
}

func (r *running) work(ctx context.Context, h *held) {
	msg := h.message()
	msg.End = &End{}
	ctx, span := traced(ctx, r.Name, h)
	start := time.Now()
	history, err := r.attempt(ctx, h, &msg)
	err = shortened(err)
	took := time.Since(start)
	if fault.Stopped(ctx, err) {
		if history != nil {
			r.note(ctx, msg, *history) // a restart is no attempt
		}
		r.unfinished(h)
		ended(span, msg.Attempt, "unfinished", err)
		return
	}
	verdict := r.settle(ctx, h, msg, history, err)
	ended(span, msg.Attempt, verdict, err)
	r.Observe(msg, took, verdict, err)
}

// attempt counts, then runs the handler. The count is written before the handler starts,
// so that a message that kills the process is known when it comes again. It returns the
// history as it was before; nil: it could not be read or written, and must be left as it is.
func (r *running) attempt(ctx context.Context, h *held, msg *Message) (*Attempts, error) {
	if h.senseless != nil {
		return &Attempts{}, fault.New(fault.Permanent, h.senseless)
	}
	if !msg.Repeat {
		return &Attempts{}, r.guarded(ctx, *msg)
	}
	history, err := r.history(ctx, msg)
	if err != nil {
		return history, err
	}
	if history.Unfinished >= suspected {
		defer r.bus.suspects.alone(msg.Subject.Company)()
		msg.Alone = true
	}
	if err := r.begin(ctx, msg, *history); err != nil {
		if fault.Stopped(ctx, err) {
			return history, err // if it was written all the same, it is taken back
		}
		return nil, err
	}
	return history, r.guarded(ctx, *msg)
}

// history reads what is known of a message that was begun before.
func (r *running) history(ctx context.Context, msg *Message) (*Attempts, error) {
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

func (r *running) attemptKey(m Message) AttemptKey {
	return AttemptKey{Stream: m.Stream, Consumer: r.Name, Sequence: m.Sequence}
}

// begin notes that an attempt starts: not before it does, or who waits for its turn while
// another kills the process would be blamed.
func (r *running) begin(ctx context.Context, msg *Message, h Attempts) error {
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
func (r *running) note(ctx context.Context, msg Message, h Attempts) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if msg.Repeat || h != (Attempts{}) {
		_ = r.bus.saveAttempts(ctx, r.attemptKey(msg), h)
	}
}

func (r *running) guarded(ctx context.Context, msg Message) (err error) {
	msg.Repeat = msg.Repeat || r.older(msg.Stored)
	if r.Done != nil && (msg.Repeat || time.Since(msg.Stored) > min(fresh, r.Patience)) {
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
func (r *running) settle(ctx context.Context, m *held, msg Message, h *Attempts, err error) string {
	if err == nil {
		r.ack(ctx, m, msg)
		return "done"
	}
	class := fault.ClassOf(err)
	if class == fault.Throttled {
		if h != nil {
			r.note(ctx, msg, Attempts{Done: h.Done}.failed(err, *h))
		}
		m.ending = ending{throttled: true, wait: min(max(fault.RetryAfter(err), minWait), maxWait)}
		_ = m.NakWithDelay(jitter(m.ending.wait))
		return "throttled"
	}
	patient := msg.Attempt < r.Attempts || time.Since(msg.Stored) < r.Patience
	if class == fault.Permanent || !patient {
		giveUp := r.GiveUp(ctx, msg, err)
		if giveUp == nil {
			r.ack(ctx, m, msg)
			return "dead"
		}
		r.bus.log.Error("could not dead-letter, will try again", zap.String("subject", msg.Raw), zap.Error(giveUp))
	}
	m.ending.failed = class != fault.Permanent
	var before Attempts
	if h != nil {
		before = *h
	}
	r.note(ctx, msg, Attempts{Done: msg.Attempt}.failed(err, before))
	_ = m.NakWithDelay(jitter(r.delay(msg.Attempt)))
	return "again"
}

const (
	// minWait is the shortest wait of a throttled message.
	minWait = 100 * time.Millisecond
	// maxWait is the longest, whatever is asked for: the longest of Procore's limits, and a bit.
	maxWait = time.Hour + time.Minute
)

func (r *running) ack(ctx context.Context, m *held, msg Message) {
	_ = m.Ack() // a lost ack means one more delivery, and every stage bears that
	if msg.Repeat {
		_ = r.bus.forgetAttempts(ctx, r.attemptKey(msg))
	}
}

// delay before the attempt after the n-th: 1, 2, 4, 8, 16, 32, 60, 60 … Backoffs.
func (r *running) delay(n int) time.Duration {
	return time.Duration(min(1<<min(n-1, 6), 60)) * r.Backoff
}

// jitter adds up to a fifth, so that what failed together does not come back together.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration(rand.Int64N(int64(d)/5+1))
}
