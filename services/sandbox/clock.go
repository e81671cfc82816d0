package sandbox

import "time"

// SkewClock makes Procore's clock differ from everybody else's by d, from now on: what it tells
// of time (Date, X-Rate-Limit-Reset, created_at of requests, details and tokens, deliveries'
// times). What it does after a time still takes that time.
func (sb *Sandbox) SkewClock(d time.Duration) { sb.skew.Store(int64(d)) }

// told is a moment as Procore's clock tells it.
func (sb *Sandbox) told(t time.Time) time.Time { return t.Add(time.Duration(sb.skew.Load())) }
