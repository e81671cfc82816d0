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
func (p *prefetched) message() Message {
	return Message{
		Subject: p.subject, RawSubject: p.Subject(), Data: p.Data(), Attempt: 1, Redelivered: p.redelivered,
		Stored: p.Timestamp, Stream: p.Stream, Sequence: p.sequence(),
	}
}

// process makes an attempt at a message, and settles the message by the result.
func (d *dispatcher) process(ctx context.Context, p *prefetched) {
	msg := p.message()
	msg.End = &End{}
	ctx, span := startSpan(ctx, d.Name, p)
	start := time.Now()
	history, err := d.attempt(ctx, p, &msg)
	err = truncateError(err)
	took := time.Since(start)
	if fault.Stopped(ctx, err) {
		if history != nil {
			d.saveHistory(ctx, msg, *history) // an attempt that a restart interrupts does not count
		}
		d.mu.Lock()
		d.unfinished = append(d.unfinished, p)
		d.mu.Unlock()
		endSpan(span, msg.Attempt, "unfinished", err)
		return
	}
	verdict := d.settle(ctx, p, msg, history, err)
	endSpan(span, msg.Attempt, verdict, err)
	d.Observe(msg, took, verdict, err)
}

// attempt counts the attempt, then runs the handler. A redelivered message is counted before the handler starts, so that
// a poison message is recognized after the crash. attempt returns the history before the attempt. If the history can't be
// read or written, it returns nil and a throttled error, and the caller must not overwrite the history.
func (d *dispatcher) attempt(ctx context.Context, p *prefetched, msg *Message) (*Attempts, error) {
	if p.malformed != nil {
		return &Attempts{}, fault.New(fault.Permanent, p.malformed)
	}
	if !msg.Redelivered {
		return &Attempts{}, d.handle(ctx, *msg)
	}
	history, err := d.history(ctx, msg)
	if err != nil {
		return history, err
	}
	if history.Unfinished >= quarantineAfter {
		defer d.bus.quarantine.enter(msg.Subject.Company)()
		msg.Isolated = true
	}
	if ctx.Err() != nil {
		return history, ctx.Err()
	}
	// Count it only now: a message that waits for the quarantine must not be blamed for a crash that another one causes.
	started := *history
	started.Unfinished++
	if err := d.bus.saveAttempts(ctx, d.attemptKey(*msg), started); fault.Stopped(ctx, err) {
		return history, err // the caller reverts the count, which may have been stored
	} else if err != nil {
		return nil, fault.Wait(d.Backoff, err)
	}
	return history, d.handle(ctx, *msg)
}

// history reads the attempts at a redelivered message, and sets msg.Attempt.
func (d *dispatcher) history(ctx context.Context, msg *Message) (*Attempts, error) {
	h, found, err := d.bus.attempts(ctx, d.attemptKey(*msg))
	if err != nil {
		return nil, fault.Wait(d.Backoff, err)
	}
	if !found { // the start of a first attempt is not stored; without a result, that attempt counts as unfinished
		h.Unfinished = 1
	}
	msg.Attempt = h.Done + 1
	if h.Unfinished >= maxUnfinished {
		return &h, fault.New(fault.Permanent, fmt.Errorf("%d attempts did not end: the message may crash the process that handles it", h.Unfinished))
	}
	return &h, nil
}

func (d *dispatcher) attemptKey(m Message) AttemptKey {
	return AttemptKey{Stream: m.Stream, Consumer: d.Name, Sequence: m.Sequence}
}

// saveHistory stores the history of a message that will be redelivered. If the write is lost, the attempt counts as
// unfinished, which is harmless.
func (d *dispatcher) saveHistory(ctx context.Context, msg Message, history Attempts) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if msg.Redelivered || history != (Attempts{}) {
		_ = d.bus.saveAttempts(ctx, d.attemptKey(msg), history)
	}
}

// handle runs the handler, unless Done reports that the message was processed before. A panic is a transient error.
func (d *dispatcher) handle(ctx context.Context, msg Message) (err error) {
	msg.Redelivered = msg.Redelivered || d.predatesConsumer(msg.Stored)
	if d.Done != nil && (msg.Redelivered || time.Since(msg.Stored) > min(firstDeliveryAge, d.RetryFor)) {
		if done, err := d.Done(ctx, msg); done || err != nil {
			return err
		}
	}
	defer func() {
		if p := recover(); p != nil {
			err = fault.New(fault.Transient, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	return d.Handle(ctx, msg)
}

// settle acks a message, releases it or gives it up, by the error of its attempt. It returns the verdict for logs and
// metrics: done, throttled, dead or again.
func (d *dispatcher) settle(ctx context.Context, p *prefetched, msg Message, history *Attempts, err error) string {
	if err == nil {
		d.ack(ctx, p, msg)
		return "done"
	}
	class := fault.ClassOf(err)
	kept := d.retention == 0 || time.Since(msg.Stored) < d.retention
	if class == fault.Throttled && (kept || history == nil) {
		if history != nil {
			d.saveHistory(ctx, msg, Attempts{Done: history.Done}.withFailure(err, *history))
		}
		p.result = scheduler.Result{Throttled: true, Wait: min(max(fault.RetryAfter(err), minWait), maxWait)}
		_ = p.NakWithDelay(jitter(p.result.Wait))
		return "throttled"
	}
	retry := msg.Attempt < d.Attempts || time.Since(msg.Stored) < d.RetryFor
	if class == fault.Permanent || !retry || !kept {
		deadLetterErr := d.GiveUp(ctx, msg, err)
		if deadLetterErr == nil {
			d.ack(ctx, p, msg)
			return "dead"
		}
		d.bus.log.Error("could not write the dead letter, retrying", zap.String("subject", msg.RawSubject), zap.Error(deadLetterErr))
	}
	p.result.Failed = class != fault.Permanent
	d.saveHistory(ctx, msg, Attempts{Done: msg.Attempt}.withFailure(err, *history))
	d.retryLater(p, msg.Attempt)
	return "again"
}

const (
	// minWait is the shortest redelivery delay of a throttled message.
	minWait = 100 * time.Millisecond
	// maxWait is the longest one: Procore's longest rate limit window, and a margin.
	maxWait = time.Hour + time.Minute
)

func (d *dispatcher) ack(ctx context.Context, p *prefetched, msg Message) {
	_ = p.Ack() // a lost ack causes a redelivery, which every stage tolerates
	if msg.Redelivered {
		_ = d.bus.forgetAttempts(ctx, d.attemptKey(msg))
	}
}

// retryDelay returns the delay after the n-th attempt: 1, 2, 4, 8, 16, 32, 60, 60 … backoffs.
func retryDelay(backoff time.Duration, n int) time.Duration {
	return time.Duration(min(1<<min(n-1, 6), 60)) * backoff
}

// jitter adds up to a fifth, so that messages that failed together are not redelivered together.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration(rand.Int64N(int64(d)/5+1))
}
