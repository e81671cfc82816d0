package api

import (
	"context"
	"sync"
	"time"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// quotaMinutes is for how many minutes the quotas are kept.
const quotaMinutes = 60

// quotas are what was left of the companies' hourly rate limits, by minute. They start empty with the process.
type quotas struct {
	mu sync.Mutex
	by map[int64]*operatorv1.Series
}

// Run records once a minute what is left of the companies' hourly rate limits, for the last hour of an overview, until ctx ends.
func (a *API) Run(ctx context.Context) {
	for tick := time.Tick(time.Minute); ; {
		if r, err := a.readings.get(ctx, 0); err == nil {
			a.quotas.add(r.Overview(nil))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
	}
}

// add records an overview. The series of a company whose quota is not known ends.
func (q *quotas) add(o *operatorv1.Overview) {
	q.mu.Lock()
	defer q.mu.Unlock()
	next := map[int64]*operatorv1.Series{}
	for _, c := range o.Companies {
		hour := c.GetQuota().GetHour()
		if hour.GetLimit() <= 0 {
			continue
		}
		s := &operatorv1.Series{Name: "quota_left", CompanyId: c.Id, Start: o.At}
		if was := q.by[c.Id]; was != nil {
			s.Start, s.Counts = was.Start, append(s.Counts, was.Counts...)
		}
		s.Counts = append(s.Counts, uint32(max(0, hour.Remaining*100/hour.Limit))) //nolint:gosec // a percentage
		if len(s.Counts) > quotaMinutes {
			s.Start, s.Counts = at(s.Start.AsTime().Add(time.Minute)), s.Counts[1:]
		}
		next[c.Id] = s
	}
	q.by = next
}

// of returns the series of a company; nil: none.
func (q *quotas) of(company int64) *operatorv1.Series {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.by[company]
}
