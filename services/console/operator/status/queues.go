package status

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"
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
	oldest     map[int64]*oldest
}

// oldest are the oldest messages of a company in a queue.
type oldest struct {
	unfinished, overdue     time.Duration          // their ages
	ofUnfinished, ofOverdue *operatorv1.RequestRef // nil: there is none
}

// of returns the report of the queue. Its oldest messages are those of the companies that has selects.
func (q *queue) of(has func(int64) bool) *operatorv1.Queue {
	r := proto.CloneOf(q.report)
	for company, o := range q.oldest {
		if !has(company) {
			continue
		}
		if r.Oldest == nil || o.unfinished > r.OldestAge.AsDuration() {
			r.Oldest, r.OldestAge = o.ofUnfinished, durationpb.New(o.unfinished)
		}
		if o.ofOverdue != nil && (r.Overdue == nil || o.overdue > r.OverdueAge.AsDuration()) {
			r.Overdue, r.OverdueAge = o.ofOverdue, durationpb.New(o.overdue)
		}
	}
	return r
}

// betweenPulls is how long a process may take from the end of one pull to the next.
const betweenPulls = 300 * time.Millisecond

// readQueue reads a stage's queue. A consumer is reported as idle only after two samples without a pull request.
func (v *Reading) readQueue(ctx context.Context, d topology.Durable, q *queue) {
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
		v.addUnread("the queue of "+d.Name, err)
		return
	}
	q.report = &operatorv1.Queue{
		Stage: d.Name, Known: true, Created: q.Exists, Waiting: q.Pending, InFlight: uint64(q.InFlight), Redelivered: uint64(q.Redelivered), //nolint:gosec // counts
		Consumed: q.Consumed() && !v.Embedded, // the process that had messages of the embedded broker has ended
	}
	if err := v.readUnfinished(ctx, q); err != nil {
		v.addUnread("the messages in the queue of "+d.Name, err)
	}
}

// maxCounted is the largest number of companies for which the broker counts a long queue, at about 10 ms each.
const maxCounted = 200

// readUnfinished finds the companies of the unfinished messages. It reads the first of those in flight, and the first of
// those that wait. If too many wait, the broker counts them for each company instead.
func (v *Reading) readUnfinished(ctx context.Context, q *queue) error {
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
		v.addNote(0, "too many messages were finished recently to read all: the companies' numbers at %s may be too high", q.Name)
	}
	if q.incomplete = more; long {
		return v.countWaiting(ctx, q)
	}
	return nil
}

// addUnfinished notes the age of an unfinished message, and whether it is overdue. The caller holds mu.
func (v *Reading) addUnfinished(q *queue, m bus.Message) {
	age := max(0, v.at.Sub(m.Stored)) // clocks differ
	ref := &operatorv1.RequestRef{CompanyId: m.Subject.Company, RequestId: m.Subject.Request, Type: m.Subject.Type}
	if q.oldest == nil {
		q.oldest = map[int64]*oldest{}
	}
	o := q.oldest[m.Subject.Company]
	if o == nil {
		o = &oldest{}
		q.oldest[m.Subject.Company] = o
	}
	if o.ofUnfinished == nil || age > o.unfinished {
		o.unfinished, o.ofUnfinished = age, ref
	}
	if (o.ofOverdue == nil || age > o.overdue) && v.Deadlines.Overdue(m, v.at) {
		o.overdue, o.ofOverdue = age, ref
	}
	if c := v.company(m.Subject.Company); c.OldestAge == nil || age > c.OldestAge.AsDuration() {
		c.OldestAge = durationpb.New(age)
	}
}

// countWaiting has the broker count each company's waiting messages, and reads the first of each.
func (v *Reading) countWaiting(ctx context.Context, q *queue) error {
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
		v.addNote(0, "companies that are not in the companies file have %s at %s", count(others, "message", "messages"), q.Name)
	}
	return nil
}
