package status

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/bus"
)

// tail finds whose the unfinished messages are: of those that were handed out it looks at the first, and
// so it does of those that wait, if they are few; else it has the broker count each company's.
func (v *look) tail(ctx context.Context, q *queue) error {
	q.open = map[uint64]int64{}
	if !q.Made { // its consumer would begin with the first message
		var err error
		if q.Waiting, err = v.bus.Count(ctx, q.waiting(q.Filter)); err != nil {
			return err
		}
	}
	if q.Out > 0 {
		if err := v.handed(ctx, q); err != nil {
			return err
		}
	}
	switch {
	case q.Waiting == 0:
		return nil
	case q.Waiting > uint64(v.Tail) && len(v.Companies) <= mostCounted: //nolint:gosec // a positive number
		return v.counted(ctx, q)
	}
	seen, cut, err := v.first(ctx, q.waiting(q.Filter), func(bus.Message) bool { return true })
	if err == nil {
		q.cutOff = q.cutOff || cut
		v.add(q, seen, nil)
	}
	return err
}

// waiting reads what nobody was given yet.
func (q *queue) waiting(filter string) bus.Scan {
	return bus.Scan{Kind: q.Kind, Subjects: []string{filter}, After: q.info.Delivered.Stream}
}

// first reads a scan's first messages, as long as they are wanted; cut says that there are more.
func (v *look) first(ctx context.Context, scan bus.Scan, wanted func(bus.Message) bool) (seen []bus.Message, cut bool, err error) {
	err = v.bus.Scan(ctx, scan, func(m bus.Message) error {
		switch {
		case !wanted(m):
			return bus.ErrSeen
		case len(seen) == v.Tail:
			cut = true
			return bus.ErrSeen
		}
		seen = append(seen, m)
		return nil
	})
	return seen, cut, err
}

// handed looks at what was handed out. All of it is unfinished where the numbers say so; else what has
// an answer further down the pipeline is finished, and only what was before it is not.
func (v *look) handed(ctx context.Context, q *queue) error {
	scan := bus.Scan{Kind: q.Kind, Subjects: []string{q.Filter}, After: q.info.AckFloor.Stream}
	seen, cut, err := v.first(ctx, scan, func(m bus.Message) bool { return m.Sequence <= q.info.Delivered.Stream })
	if err != nil {
		return err
	}
	var finished map[place]bool
	if len(seen) > q.Out {
		if finished, err = v.finished(ctx, q, seen[0].Stored); err != nil {
			return err
		}
	}
	q.cutOff = cut
	v.add(q, seen, finished)
	return nil
}

// add counts the unfinished among messages, oldest first, to their companies.
func (v *look) add(q *queue, seen []bus.Message, finished map[place]bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, m := range seen {
		if finished[placeOf(m.Subject)] {
			continue
		}
		q.open[m.Sequence] = m.Subject.Company
		v.company(m.Subject.Company).Unfinished++
		v.older(q, m)
	}
}

// older notes the age of a message that is unfinished. The caller holds mu.
func (v *look) older(q *queue, m bus.Message) {
	age := v.age(m.Stored)
	if q.Oldest == nil || *age > *q.Oldest {
		q.Oldest, q.Of = age, &Event{m.Subject.Company, m.Subject.Request, m.Subject.Type}
	}
	if c := v.company(m.Subject.Company); c.Oldest == nil || *age > *c.Oldest {
		c.Oldest = age
	}
}

// mostCounted is of how many companies the broker is made to count a deep queue, at 10 ms or so each.
const mostCounted = 200

// counted has the broker count what waits, company by company, and looks at the first of each.
func (v *look) counted(ctx context.Context, q *queue) error {
	left := q.Waiting
	for id := range v.Companies {
		scan := q.waiting(strings.TrimSuffix(q.Filter, ">") + tokens(q.Filter) + strconv.FormatInt(id, 10) + ".>")
		n, err := v.bus.Count(ctx, scan)
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		left -= min(n, left)
		err = v.bus.Scan(ctx, scan, func(m bus.Message) error {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.company(id).Unfinished += int(n) //nolint:gosec // a count
			v.older(q, m)
			return bus.ErrSeen
		})
		if err != nil {
			return err
		}
	}
	if left > 0 {
		v.note("%s of companies that are not in the companies file", messages(left, "at "+q.Stop+" is", "at "+q.Stop+" are"))
	}
	return nil
}

// tokens are those between a queue's filter and the company: category and type, as far as the filter
// does not say them.
func tokens(filter string) string {
	if strings.Count(filter, ".") == 2 { // tb.<kind>.>
		return "*.*."
	}
	return "*."
}

// place is what the messages of one run of a request share at every stop.
type place struct {
	company, request int64
	run              string
}

func placeOf(s bus.Subject) place { return place{s.Company, s.Request, s.Run} }

// answers are the kinds whose messages say that one of a kind is finished.
var answers = map[bus.Kind][]bus.Kind{
	bus.Delivery: {bus.Event, bus.Outcome, bus.Dead},
	bus.Event:    {bus.Outcome, bus.Dead},
	bus.Outcome:  {bus.Closed},
}

// finished are the runs that have an answer further down, of those whose message is not older than since.
func (v *look) finished(ctx context.Context, q *queue, since time.Time) (map[place]bool, error) {
	all := map[place]bool{}
	for _, k := range answers[q.Kind] {
		n := 0
		err := v.bus.Scan(ctx, bus.Scan{Kind: k, Since: since}, func(m bus.Message) error {
			if n++; n > 5*v.Tail {
				v.note("more was finished lately than was looked at: the companies' numbers at %s may be too high", q.Stop)
				return bus.ErrSeen
			}
			all[placeOf(m.Subject)] = true
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
