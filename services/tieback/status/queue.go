package status

import (
	"context"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/request"
)

// queue is a stop's queue while it is looked at.
type queue struct {
	request.Queue
	Report Queue
	open   map[uint64]int64 // company by sequence, of the unfinished messages that were looked at
	cutOff bool             // there are more
}

// moment is how long a process may take from the end of one pull to the next.
const moment = 300 * time.Millisecond

// queue looks at a stop's queue. That nobody takes its work is believed when it was seen twice.
func (v *look) queue(ctx context.Context, d topology.Durable, q *queue) {
	var err error
	if q.Queue, err = request.ReadQueue(ctx, v.bus, d); err == nil && v.sleeps(q.Queue) {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(moment):
			q.Queue, err = request.ReadQueue(ctx, v.bus, d)
		}
	}
	if err != nil {
		v.unasked("the queue of "+d.Name, err)
		return
	}
	q.Report = Queue{
		Stop: d.Name, Known: true, Made: q.Exists, Waiting: q.Pending, Out: q.InFlight, Again: q.Redelivered,
		Taken: q.Taken() && !v.Embedded, // the process that was handed something by an embedded broker is gone
	}
	if err := v.owners(ctx, q); err != nil {
		v.unasked("what is in the queue of "+d.Name, err)
	}
}

// sleeps reports whether work waits that nobody takes.
func (v *look) sleeps(q request.Queue) bool {
	return q.Exists && q.Pending > 0 && !q.Taken() && !v.Embedded
}

// mostCounted is of how many companies the broker is made to count a deep queue, at 10 ms or so each.
const mostCounted = 200

// owners finds whose the unfinished messages are: it looks at the first of those that were handed out, and of those
// that wait, if they are few; else it has the broker count each company's.
func (v *look) owners(ctx context.Context, q *queue) error {
	q.open = map[uint64]int64{}
	unfinished := q.Queue
	deep := q.Pending > uint64(v.Tail) && len(v.Companies) <= mostCounted //nolint:gosec // a positive number
	if deep {
		unfinished.Pending = 0
	}
	cut, inexact, err := unfinished.Each(ctx, v.bus, v.Tail, func(m bus.Message) {
		v.mu.Lock()
		defer v.mu.Unlock()
		q.open[m.Sequence] = m.Subject.Company
		v.company(m.Subject.Company).Unfinished++
		v.older(q, m)
	})
	if err != nil {
		return err
	}
	if inexact {
		v.note("more was finished lately than was looked at: the companies' numbers at %s may be too high", q.Name)
	}
	if q.cutOff = cut; deep {
		return v.counted(ctx, q)
	}
	return nil
}

// older notes the age of a message that is unfinished, and whether it should have been finished. The caller holds mu.
func (v *look) older(q *queue, m bus.Message) {
	r, age, of := &q.Report, v.age(m.Stored), &Event{m.Subject.Company, m.Subject.Request, m.Subject.Type}
	if r.Oldest == nil || *age > *r.Oldest {
		r.Oldest, r.Of = age, of
	}
	if (r.Overdue == nil || *age > r.Overdue.Age) && v.Limits.Overdue(m, v.at) {
		r.Overdue = &Overdue{*of, *age}
	}
	if c := v.company(m.Subject.Company); c.Oldest == nil || *age > *c.Oldest {
		c.Oldest = age
	}
}

// counted has the broker count what waits, company by company, and looks at the first of each.
func (v *look) counted(ctx context.Context, q *queue) error {
	left := q.Pending
	for id := range v.Companies {
		n, oldest, err := q.PendingOf(ctx, v.bus, id)
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		left -= min(n, left)
		v.mu.Lock()
		v.company(id).Unfinished += int(n) //nolint:gosec // a count
		v.older(q, oldest)
		v.mu.Unlock()
	}
	if left > 0 {
		v.note("%s of companies that are not in the companies file", messages(left, "at "+q.Name+" is", "at "+q.Name+" are"))
	}
	return nil
}
