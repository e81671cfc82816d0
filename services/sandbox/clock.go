package sandbox

import "time"

// SkewClock makes Procore's clock differ from everybody else's by d, from now on: what it tells
// of time (Date, X-Rate-Limit-Reset, created_at of requests, details and tokens, deliveries'
// times). What it does after a time still takes that time.
func (sb *Sandbox) SkewClock(d time.Duration) { sb.skew.Store(int64(d)) }

// JumpServers makes the clocks of Procore's servers differ by d as well, from now on: Date, X-Rate-Limit-Reset and
// the times of tokens. The times of requests do not jump: Procore orders requests by them, and so do we.
func (sb *Sandbox) JumpServers(d time.Duration) { sb.jump.Store(int64(d)) }

// told is a moment as Procore's servers tell it.
func (sb *Sandbox) told(t time.Time) time.Time {
	return sb.recorded(t).Add(time.Duration(sb.jump.Load()))
}

// recorded is a moment as Procore records it with a request.
func (sb *Sandbox) recorded(t time.Time) time.Time { return t.Add(time.Duration(sb.skew.Load())) }
