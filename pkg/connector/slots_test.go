package connector

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// desk has one caller after the other ask for a slot, and notes who gets one, in which order.
type desk struct {
	*testing.T
	*slots
	mu   sync.Mutex
	got  []string
	gave map[string]func()
}

func newDesk(t *testing.T, n int) *desk {
	return &desk{T: t, slots: newSlots(n), gave: map[string]func(){}}
}

// ask has name wait for a slot; one that begins with b is a bulk call.
func (d *desk) ask(names ...string) {
	for _, name := range names {
		ctx := d.Context()
		if name[0] == 'b' {
			ctx = Bulk(ctx)
		}
		go func() {
			release, err := d.acquire(ctx)
			d.mu.Lock()
			defer d.mu.Unlock()
			if err == nil {
				d.got, d.gave[name] = append(d.got, name), release
			}
		}()
		synctest.Wait()
	}
}

// done gives a slot back.
func (d *desk) done(name string) {
	d.mu.Lock()
	release := d.gave[name]
	d.gave[name] = nil
	d.mu.Unlock()
	if release == nil {
		d.Fatalf("%s has no slot: %v", name, d.got)
	}
	release()
	synctest.Wait()
}

func (d *desk) have(want ...string) {
	d.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.got, want) {
		d.Errorf("slots went to %v, want %v", d.got, want)
	}
}

func TestABulkSyncLeavesASlotForTheNextClick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 3)
		d.ask("b1", "b2", "b3", "click")
		d.have("b1", "b2", "click")
		d.done("click")
		d.have("b1", "b2", "click")
		d.done("b1")
		d.have("b1", "b2", "click", "b3")
		d.done("b2")
		d.done("b3")
	})
}

func TestClicksOvertakeTheBulkCallsThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 1)
		d.ask("b1", "b2", "b3", "click 1", "click 2")
		for _, name := range []string{"b1", "click 1", "click 2", "b2"} {
			d.done(name)
		}
		d.have("b1", "click 1", "click 2", "b2", "b3")
		d.done("b3")
	})
}

func TestABulkSyncGetsOnBesideAnyNumberOfClicks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 2)
		d.ask("c00", "c01", "b")
		for i := range 20 {
			d.ask(fmt.Sprintf("c%02d", i+2))
		}
		for i := range 10 {
			d.done(fmt.Sprintf("c%02d", i))
		}
		if turn := slices.Index(d.got, "b"); turn != 2+fair-1 {
			t.Errorf("after %d clicks that waited, the bulk call had not had its turn, or earlier: %v", fair-1, d.got)
		}
		d.finish()
	})
}

// finish lets all end.
func (d *desk) finish() {
	for i := 0; i < len(d.got); i++ {
		if release := d.gave[d.got[i]]; release != nil {
			d.gave[d.got[i]] = nil
			release()
			synctest.Wait()
		}
	}
}

// Whoever gives up waiting takes no slot with it, whichever moment it picks.
func TestWhoGivesUpWaitingLeavesNoSlotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(2)
		var all sync.WaitGroup
		for i := range 200 {
			ctx := t.Context()
			if i%2 == 0 {
				ctx = Bulk(ctx)
			}
			ctx, cancel := context.WithTimeout(ctx, time.Duration(i%5)*time.Millisecond)
			all.Go(func() {
				defer cancel()
				if release, err := s.acquire(ctx); err == nil {
					time.Sleep(time.Millisecond)
					release()
				}
			})
		}
		all.Wait()
		if s.free != 2 || s.forBulk != 1 || len(s.waiting[0])+len(s.waiting[1]) != 0 {
			t.Errorf("%d of 2 slots are free, %d of 1 for bulk calls, %v wait", s.free, s.forBulk, s.waiting)
		}
	})
}

// Whoever has no turn is told whether the ERP is at work on others, or answers none of them.
func TestWhoHasNoTurnIsToldWhatFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, e := world()
		b.caps = &tiebackv1.CapabilitiesResponse{Name: "Books", MaxConcurrent: 1, Entities: []*tiebackv1.EntityCapability{{Entity: vendor, State: true}}}
		b.before = func(string) error { time.Sleep(time.Minute); return nil }
		began := time.Now()
		go func() { _, _ = e.State(t.Context(), vendor, "V-1") }()
		synctest.Wait()
		for _, c := range []struct {
			at   time.Duration // when it asks for its turn
			want fault.Reason
		}{{time.Second, fault.Busy}, {20 * time.Second, fault.NoAnswer}} {
			time.Sleep(time.Until(began.Add(c.at)))
			_, err := e.State(t.Context(), vendor, "V-2")
			if fault.ClassOf(err) != fault.Throttled || fault.ReasonOf(err) != c.want || fault.SourceOf(err) != fault.FromERP {
				t.Errorf("at %v: %v, reason %s, want %s", c.at, err, fault.ReasonOf(err), c.want)
			}
			if c.want == fault.NoAnswer && !fault.SinceOf(err).Equal(began) {
				t.Errorf("since %v, want %v", fault.SinceOf(err), began)
			}
		}
		time.Sleep(time.Hour)
	})
}
