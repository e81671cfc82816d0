package doctor

import (
	"context"
	"time"

	"github.com/tieback/tieback/pkg/bus"
)

// oldBackup is two backups of a daily schedule; the alert TiebackBackupOld has the same limit.
const oldBackup = 50 * time.Hour

// checkBackup checks the age of the last complete backup. An installation has a day to make its first one.
func (d *Doctor) checkBackup(ctx context.Context, r *findings, b *bus.Bus) {
	const check = "backup"
	last, made, err := b.LastBackup(ctx)
	if err != nil {
		r.problem(check, "check the broker", "%v", err)
		return
	}
	if !made {
		s, err := b.JetStream().Stream(ctx, bus.Delivery.Stream())
		if err == nil && time.Since(s.CachedInfo().Created) > 24*time.Hour {
			r.warn(check, "schedule tieback backup, see docs/disasters.md", "none was made with tieback backup")
			return
		}
		r.ok(check, "none was made yet with tieback backup")
		return
	}
	if age := time.Since(last.Began).Round(time.Second); age > oldBackup {
		r.warn(check, "see why the scheduled backups fail: the Jobs of the CronJob, or the log of the scheduler", "the last complete one, %s in %s, began %v ago", last.ID, last.To, age)
	} else {
		r.ok(check, "the last complete one, %s in %s, began %v ago", last.ID, last.To, age)
	}
}
