package doctor

import (
	"context"

	"github.com/tieback/tieback/pkg/bus"
)

const raiseLimit = "raise the limit, within the size of the disk, or shorten the retention; from 90 % on ingest answers 503, and Procore retries for 12 hours"

// checkLimits compares the size of the streams with TIEBACK_NATS_MAX_BYTES, if set, and with the limit of the account at the
// broker. The broker does not report the size of its disk.
func (d *Doctor) checkLimits(ctx context.Context, r *findings, b *bus.Bus) {
	const check = "limits"
	var size uint64
	for _, k := range bus.Kinds {
		s, err := b.JetStream().Stream(ctx, k.Stream())
		if err != nil {
			return // checkStreams reports it
		}
		size += s.CachedInfo().State.Bytes
	}
	account, err := b.JetStream().AccountInfo(ctx)
	if err != nil {
		r.problem(check, "check the broker", "its account can't be read: %v", err)
		return
	}
	limits := 0
	if d.Settings.MaxBytes > 0 {
		limits++
		checkLimit(r, "the streams use", size, d.Settings.MaxBytes, "TIEBACK_NATS_MAX_BYTES")
	}
	if account.Limits.MaxStore > 0 {
		limits++
		checkLimit(r, "the broker's account uses", account.Store, uint64(account.Limits.MaxStore), "the account's limit at the broker")
	}
	if limits == 0 {
		r.ok(check, "the streams use %d MiB; there is no limit (TIEBACK_NATS_MAX_BYTES is not set, and the account has none)", size>>20)
	}
}

// checkLimit compares bytes used with a limit.
func checkLimit(r *findings, what string, used, limit uint64, whose string) {
	switch {
	case used >= limit/10*9:
		r.problem("limits", raiseLimit, "%s %d of %d bytes (%s)", what, used, limit, whose)
	case used >= limit/4*3:
		r.warn("limits", raiseLimit, "%s %d of %d bytes (%s)", what, used, limit, whose)
	default:
		r.ok("limits", "%s %d of %d bytes (%s)", what, used, limit, whose)
	}
}

// checkLosses checks that the streams have all messages that they acknowledged.
func (d *Doctor) checkLosses(ctx context.Context, r *findings, b *bus.Bus) {
	const check = "losses"
	all, err := b.Losses(ctx)
	if err != nil {
		r.problem(check, "check the broker", "%v", err)
		return
	}
	for _, l := range all {
		r.problem(check, bus.LossAction, "%v", l)
	}
	if len(all) == 0 {
		r.ok(check, "none is visible; tieback losses reads all streams")
	}
}
