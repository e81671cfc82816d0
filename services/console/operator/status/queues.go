package status

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// queue is a stage's queue while it is read.
type queue struct {
	request.Queue
	report     *operatorv1.Queue
	companyOf  map[uint64]int64 // by sequence, of the unfinished messages that were read
	incomplete bool             // there are more
}

// betweenPulls is how long a process may take from the end of one pull to the next.
const betweenPulls = 300 * time.Millisecond

// readQueue reads a stage's queue. A consumer is reported as idle only after two samples without a pull request.
func (v *reading) readQueue(ctx context.Context, d topology.Durable, q *queue) {
	var err error
	if q.Queue, err = request.ReadQueue(ctx, v.bus, d); err == nil && q.Exists && q.Pending > 0 && !q.Consumed() && !v.Embedded {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(betweenPulls):
			q.Queue, err = request.ReadQueue(ctx, v.bus, d)
		}
	}
	if err != nil {
		v.unread("the queue of "+d.Name, err)
		return
	}
	q.report = &operatorv1.Queue{
		Stage: d.Name, Known: true, Created: q.Exists, Waiting: q.Pending, InFlight: uint64(q.InFlight), Redelivered: uint64(q.Redelivered), //nolint:gosec // counts
		Consumed: q.Consumed() && !v.Embedded, // the process that had messages of the embedded broker has ended
	}
	if err := v.readUnfinished(ctx, q); err != nil {
		v.unread("the messages in the queue of "+d.Name, err)
	}
}

// maxCounted is the largest number of companies for which the broker counts a long queue, at about 10 ms each.
const maxCounted = 200

// readUnfinished finds the companies of the unfinished messages. It reads the first of those in flight, and the first of
// those that wait. If too many wait, the broker counts them for each company instead.
func (v *reading) readUnfinished(ctx context.Context, q *queue) error {
	q.companyOf = map[uint64]int64{}
	unfinished := q.Queue
	long := q.Pending > uint64(v.MaxUnfinished) && len(v.Companies) <= maxCounted //nolint:gosec // a positive number
	if long {
		unfinished.Pending = 0
	}
	more, inexact, err := unfinished.Each(ctx, v.bus, v.MaxUnfinished, func(m bus.Message) {
		v.mu.Lock()
		defer v.mu.Unlock()
		q.companyOf[m.Sequence] = m.Subject.Company
		v.company(m.Subject.Company).Open++
		v.addUnfinished(q, m)
	})
	if err != nil {
		return err
	}
	if inexact {
		v.note("too many messages were finished recently to read all: the companies' numbers at %s may be too high", q.Name)
	}
	if q.incomplete = more; long {
		return v.countWaiting(ctx, q)
	}
	return nil
}

// addUnfinished notes the age of an unfinished message, and whether it is overdue. The caller holds mu.
func (v *reading) addUnfinished(q *queue, m bus.Message) {
	if !v.reported(m.Subject.Company) {
		return
	}
	age := max(0, v.at.Sub(m.Stored)) // clocks differ
	ref := &operatorv1.RequestRef{CompanyId: m.Subject.Company, RequestId: m.Subject.Request, Type: m.Subject.Type}
	older := func(than *durationpb.Duration) bool { return than == nil || age > than.AsDuration() }
	if r := q.report; older(r.OldestAge) {
		r.OldestAge, r.Oldest = durationpb.New(age), ref
	}
	if r := q.report; older(r.OverdueAge) && v.Deadlines.Overdue(m, v.at) {
		r.OverdueAge, r.Overdue = durationpb.New(age), ref
	}
	if c := v.company(m.Subject.Company); older(c.OldestAge) {
		c.OldestAge = durationpb.New(age)
	}
}

// countWaiting has the broker count each company's waiting messages, and reads the first of each.
func (v *reading) countWaiting(ctx context.Context, q *queue) error {
	others := q.Pending
	for id := range v.Companies {
		n, oldest, err := q.PendingOf(ctx, v.bus, id)
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		others -= min(n, others)
		v.mu.Lock()
		v.company(id).Open += n
		v.addUnfinished(q, oldest)
		v.mu.Unlock()
	}
	if others > 0 {
		v.note("companies that are not in the companies file have %s at %s", count(others, "message", "messages"), q.Name)
	}
	return nil
}
