package sandbox

import "time"

// SkewClock sets by how much Procore's clock is ahead. It affects all times that Procore reports: Date,
// X-Rate-Limit-Reset, created_at of requests, details and tokens, and times of deliveries. Durations stay the same.
func (sb *Sandbox) SkewClock(d time.Duration) { sb.skew.Store(int64(d)) }

// SkewServerClocks sets by how much the clocks of Procore's servers are ahead, in addition to SkewClock. It affects Date,
// X-Rate-Limit-Reset and the times of tokens, but not the times of requests, by which requests are ordered.
func (sb *Sandbox) SkewServerClocks(d time.Duration) { sb.serverSkew.Store(int64(d)) }

// serverTime converts a time to that of Procore's servers.
func (sb *Sandbox) serverTime(t time.Time) time.Time {
	return sb.recordTime(t).Add(time.Duration(sb.serverSkew.Load()))
}

// recordTime converts a time to that which Procore stores in records.
func (sb *Sandbox) recordTime(t time.Time) time.Time { return t.Add(time.Duration(sb.skew.Load())) }
