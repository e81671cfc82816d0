package api

import (
	"context"
	"slices"
	"sync"
	"time"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// hourMinutes is for how many minutes the series are kept.
const hourMinutes = 60

// The names of the series of a company.
const (
	seriesQuota  = "quota_left"
	seriesShare  = "share"
	seriesWait   = "wait"
	seriesOthers = "wait_others"
)

// hours are the last hour of the companies, by minute: what was left of their hourly rate limits, and how fair the pipeline was. They
// start empty with the process. The zero value is ready. Its methods may be called concurrently.
type hours struct {
	mu sync.Mutex
	by map[int64]map[string]*operatorv1.Series // by company and name
}

// Run records the companies once a minute until ctx ends.
func (a *API) Run(ctx context.Context) {
	for tick := time.Tick(time.Minute); ; {
		if r, err := a.readings.get(ctx, 0); err == nil {
			a.hours.add(r.Overview(nil))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
	}
}

// add records an overview. A series ends if its value is not known.
func (h *hours) add(o *operatorv1.Overview) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := map[int64]map[string]*operatorv1.Series{}
	for _, c := range o.Companies {
		is := map[string]*operatorv1.Series{}
		next[c.Id] = is
		for name, value := range minuteOf(o, c) {
			s := &operatorv1.Series{Name: name, CompanyId: c.Id, Start: o.At}
			if was := h.by[c.Id][name]; was != nil {
				s.Start, s.Counts = was.Start, append(s.Counts, was.Counts...)
			}
			s.Counts = append(s.Counts, value)
			if len(s.Counts) > hourMinutes {
				s.Start, s.Counts = at(s.Start.AsTime().Add(time.Minute)), s.Counts[1:]
			}
			is[name] = s
		}
	}
	h.by = next
}

// minuteOf returns the values of a company, by the names of the series.
func minuteOf(o *operatorv1.Overview, c *operatorv1.CompanyState) map[string]uint32 {
	values := map[string]uint32{seriesWait: seconds(c)}
	if hour := c.GetQuota().GetHour(); hour.GetLimit() > 0 {
		values[seriesQuota] = uint32(max(0, hour.Remaining*100/hour.Limit)) //nolint:gosec // a percentage
	}
	var others []uint32
	ended := uint64(0)
	for _, other := range o.Companies {
		ended += other.Succeeded + other.Failed
		if other.Id != c.Id && other.OldestAge != nil {
			others = append(others, seconds(other))
		}
	}
	values[seriesShare] = uint32((c.Succeeded + c.Failed) * 100 / max(1, ended)) //nolint:gosec // a percentage
	values[seriesOthers] = 0
	if len(others) > 0 {
		slices.Sort(others)
		values[seriesOthers] = others[len(others)/2]
	}
	return values
}

// seconds returns the age of a company's oldest open request; 0: there is none.
func seconds(c *operatorv1.CompanyState) uint32 {
	return uint32(max(0, c.OldestAge.AsDuration().Seconds())) //nolint:gosec // less than 100 years
}

// of returns the series of a company, sorted by name.
func (h *hours) of(company int64) (all []*operatorv1.Series) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range []string{seriesQuota, seriesShare, seriesWait, seriesOthers} {
		if s := h.by[company][name]; s != nil {
			all = append(all, s)
		}
	}
	return all
}
