package doctor

import (
	"context"

	"github.com/tieback/tieback/pkg/bus"
)

const makeRoom = "raise the limit, below the size of the disk, or shorten what is kept; at nine tenths ingest takes nothing new (503: Procore sends again, for 12 hours)"

// checkRoom compares what is kept with the limits that can be told from here: TIEBACK_NATS_MAX_BYTES, if the
// doctor is given it, and the account's at the broker. How large the broker's disk is it does not say.
func (d *Doctor) checkRoom(ctx context.Context, r *report, b *bus.Bus) {
	const check = "room"
	var kept uint64
	for _, k := range bus.Kinds {
		s, err := b.JetStream().Stream(ctx, k.Stream())
		if err != nil {
			return // told already
		}
		kept += s.CachedInfo().State.Bytes
	}
	account, err := b.JetStream().AccountInfo(ctx)
	if err != nil {
		r.problem(check, "look at the broker", "its account does not say how much it keeps: %v", err)
		return
	}
	limits := 0
	if d.Settings.MaxBytes > 0 {
		limits++
		full(r, "the streams take", kept, d.Settings.MaxBytes, "TIEBACK_NATS_MAX_BYTES")
	}
	if account.Limits.MaxStore > 0 {
		limits++
		full(r, "the broker's account takes", account.Store, uint64(account.Limits.MaxStore), "its limit at the broker")
	}
	if limits == 0 {
		r.ok(check, "the streams take %d MiB; no limit can be seen from here (TIEBACK_NATS_MAX_BYTES is not set, and the account has none)", kept>>20)
	}
}

// full judges what is used of a limit, in bytes.
func full(r *report, what string, used, limit uint64, whose string) {
	switch {
	case used >= limit/10*9:
		r.problem("room", makeRoom, "%s %d of %d bytes (%s)", what, used, limit, whose)
	case used >= limit/4*3:
		r.warn("room", makeRoom, "%s %d of %d bytes (%s)", what, used, limit, whose)
	default:
		r.ok("room", "%s %d of %d bytes (%s)", what, used, limit, whose)
	}
}

// checkLosses asks whether the streams have lost what they acknowledged.
func (d *Doctor) checkLosses(ctx context.Context, r *report, b *bus.Bus) {
	const check = "losses"
	all, err := b.Losses(ctx)
	if err != nil {
		r.problem(check, "look at the broker", "%v", err)
		return
	}
	for _, l := range all {
		r.problem(check, bus.AfterLoss, "%v", l)
	}
	if len(all) == 0 {
		r.ok(check, "the streams have lost nothing that can be seen; tieback audit reads the dead letters too")
	}
}
