package sandbox

import (
	"math"
	"strconv"
	"sync"
	"time"
)

// limits has the two rate limit windows of a client, or of one of its companies: an hour and 10 seconds. A window starts
// with the first call after the end of the previous one.
type limits struct {
	mu     sync.Mutex
	hourly window
	spike  window
}

type window struct {
	limit int
	size  time.Duration // in sandbox time
	used  int
	ends  time.Time
}

func newLimits(cfg Config) *limits {
	return &limits{
		hourly: window{limit: limitOf(cfg.HourlyLimit), size: cfg.scaled(time.Hour)},
		spike:  window{limit: limitOf(cfg.SpikeLimit), size: cfg.scaled(10 * time.Second)},
	}
}

// limitOf returns the limit of a setting. A negative setting means no limit.
func limitOf(n int) int {
	if n < 0 {
		return math.MaxInt32
	}
	return n
}

func (w *window) roll(now time.Time) {
	if !now.Before(w.ends) {
		w.used, w.ends = 0, now.Add(w.size)
	}
}

func (w *window) remaining() int { return max(0, w.limit-w.used) }

// take counts a call in both windows, unless one is used up, and returns the headers of the window with fewer calls
// left.
func (l *limits) take(sb *Sandbox) (header map[string]string, within bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.hourly.roll(now)
	l.spike.roll(now)
	within = l.hourly.remaining() > 0 && l.spike.remaining() > 0
	if within {
		l.hourly.used++
		l.spike.used++
	}
	tighter := &l.spike
	if h, s := l.hourly.remaining(), l.spike.remaining(); h < s || h == s && l.hourly.ends.After(l.spike.ends) {
		tighter = &l.hourly
	}
	return rateHeader(tighter.limit, tighter.remaining(), sb.serverTime(tighter.ends)), within
}

// rateHeader returns the three headers of a rate limit. Reset is in seconds, rounded up.
func rateHeader(limit, remaining int, reset time.Time) map[string]string {
	return map[string]string{
		"X-Rate-Limit-Limit":     strconv.Itoa(limit),
		"X-Rate-Limit-Remaining": strconv.Itoa(remaining),
		"X-Rate-Limit-Reset":     strconv.FormatInt(ceilUnix(reset), 10),
	}
}

func ceilUnix(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		return t.Unix() + 1
	}
	return t.Unix()
}

// SetLimits changes the limits of a company's calls. Negative means no limit.
func (sb *Sandbox) SetLimits(companyID int64, hourly, spike int) error {
	co, err := sb.company(companyID)
	if err != nil {
		return err
	}
	co.limits.mu.Lock()
	defer co.limits.mu.Unlock()
	co.limits.hourly.limit, co.limits.spike.limit = limitOf(hourly), limitOf(spike)
	return nil
}
