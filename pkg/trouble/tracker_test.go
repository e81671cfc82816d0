package trouble

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tieback/tieback/pkg/fault"
)

var (
	refused = fault.From(fault.FromERP, &fault.Error{Reason: fault.NoAnswer, Err: errors.New("connection refused")})
	denied  = fault.From(fault.FromERP, &fault.Error{Reason: fault.Denied, Err: errors.New("wrong password")})
)

// Times are in seconds.
func TestTrackerReportsSinceWhen(t *testing.T) {
	type ends struct {
		after time.Duration // since its start; 0: at once
		err   error
	}
	hangs := ends{time.Hour, nil}
	for _, c := range []struct {
		name   string
		calls  map[int]ends // by the second in which they start
		at     int          // the second in which Now is called
		since  int          // -1: no trouble
		reason fault.Reason
	}{
		{"no calls", nil, 10, -1, ""},
		{"all calls were answered", map[int]ends{1: {}, 2: {}}, 10, -1, ""},
		{"a record was refused", map[int]ends{1: {0, fault.Permanentf("The name is taken.")}}, 10, -1, ""},
		{"it is down", map[int]ends{1: {}, 3: {0, refused}, 7: {0, refused}}, 10, 3, fault.NoAnswer},
		{"it is up again", map[int]ends{1: {0, refused}, 3: {0, refused}, 7: {}}, 10, -1, ""},
		{"it is down again", map[int]ends{1: {0, refused}, 3: {}, 7: {0, refused}}, 10, 7, fault.NoAnswer},
		{"first down, then it refuses the credentials", map[int]ends{1: {0, refused}, 5: {0, denied}, 7: {0, denied}}, 10, 5, fault.Denied},
		{"it hangs for a short time", map[int]ends{1: hangs}, 10, -1, ""},
		{"it hangs", map[int]ends{1: hangs, 8: hangs}, 25, 1, fault.NoAnswer},
		{"one call hangs, and others are answered", map[int]ends{1: hangs, 20: {}}, 25, -1, ""},
		{"it was answered, and then hangs", map[int]ends{1: hangs, 20: {}, 22: hangs}, 45, 20, fault.NoAnswer},
		{"a call that hung failed", map[int]ends{1: {30 * time.Second, refused}, 35: hangs}, 40, 1, fault.NoAnswer},
		{"the caller canceled", map[int]ends{1: {30 * time.Second, fmt.Errorf("put: %w", context.Canceled)}}, 40, -1, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			var tr Tracker
			began := time.Now()
			for second := range c.at + 1 {
				if call, begins := c.calls[second]; begins {
					end := tr.Begin(7)
					if call.after == 0 {
						_ = end(call.err)
					} else {
						time.AfterFunc(call.after, func() { _ = end(call.err) })
					}
				}
				if second < c.at {
					time.Sleep(time.Second)
				}
			}
			got, bad := tr.Now(7, fault.FromERP, time.Now(), Silent)
			switch {
			case bad != (c.since >= 0):
				t.Errorf("%s: trouble %v: %+v", c.name, bad, got)
			case bad && (!got.Since.Equal(began.Add(time.Duration(c.since)*time.Second)) || got.Reason != c.reason || got.Source != fault.FromERP || got.Company != 7):
				t.Errorf("%s: since second %v, %+v; want %d, %s", c.name, got.Since.Sub(began), got, c.since, c.reason)
			}
			time.Sleep(2 * time.Hour)
		})
	}
}

// A wrapped error keeps the time since which calls fail.
func TestWrappedErrorKeepsSince(t *testing.T) {
	var tr Tracker
	first := tr.Begin(7)(refused)
	again := fmt.Errorf("export: %w", tr.Begin(7)(refused))
	if since := fault.SinceOf(again); since.IsZero() || !since.Equal(fault.SinceOf(first)) || fault.ReasonOf(again) != fault.NoAnswer || fault.SourceOf(again) != fault.FromERP {
		t.Errorf("%v since %v, at first %v", again, since, fault.SinceOf(first))
	}
	trouble, _ := tr.Now(7, fault.FromERP, time.Now(), Silent)
	if err := trouble.Err(); fault.ReasonOf(err) != fault.NoAnswer || !fault.SinceOf(err).Equal(fault.SinceOf(first)) || err.Error() != "connection refused" {
		t.Errorf("%#v", err)
	}
}
