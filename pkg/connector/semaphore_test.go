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

// queueTest lets named callers ask for slots, and records the order in which they get them.
type queueTest struct {
	*testing.T
	*semaphore
	mu       sync.Mutex
	got      []string
	releases map[string]func()
}

func newQueueTest(t *testing.T, n int) *queueTest {
	return &queueTest{T: t, semaphore: newSemaphore(n), releases: map[string]func(){}}
}

// ask makes callers wait for a slot. A name that begins with b is a bulk call.
func (d *queueTest) ask(names ...string) {
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
				d.got, d.releases[name] = append(d.got, name), release
			}
		}()
		synctest.Wait()
	}
}

// done releases a slot.
func (d *queueTest) done(name string) {
	d.mu.Lock()
	release := d.releases[name]
	d.releases[name] = nil
	d.mu.Unlock()
	if release == nil {
		d.Fatalf("%s has no slot: %v", name, d.got)
	}
	release()
	synctest.Wait()
}

func (d *queueTest) have(want ...string) {
	d.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.got, want) {
		d.Errorf("slots went to %v, want %v", d.got, want)
	}
}

func TestBulkCallsLeaveASlotFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newQueueTest(t, 3)
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

func TestInteractiveCallsOvertakeBulkCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newQueueTest(t, 1)
		d.ask("b1", "b2", "b3", "click 1", "click 2")
		for _, name := range []string{"b1", "click 1", "click 2", "b2"} {
			d.done(name)
		}
		d.have("b1", "click 1", "click 2", "b2", "b3")
		d.done("b3")
	})
}

func TestBulkCallsAreNotStarved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newQueueTest(t, 2)
		d.ask("c00", "c01", "b")
		for i := range 20 {
			d.ask(fmt.Sprintf("c%02d", i+2))
		}
		for i := range 10 {
			d.done(fmt.Sprintf("c%02d", i))
		}
		if turn := slices.Index(d.got, "b"); turn != 2+fair-1 {
			t.Errorf("the bulk call did not get its slot after %d waiting interactive calls: %v", fair-1, d.got)
		}
		d.finish()
	})
}

// finish releases all slots.
func (d *queueTest) finish() {
	for i := 0; i < len(d.got); i++ {
		if release := d.releases[d.got[i]]; release != nil {
			d.releases[d.got[i]] = nil
			release()
			synctest.Wait()
		}
	}
}

// A caller that gives up waiting, at any moment, occupies no slot.
func TestCanceledWaitReleasesItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSemaphore(2)
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

// The error of a call without a slot says whether the ERP is busy or does not answer.
func TestErrorWithoutASlotSaysWhetherTheERPAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, e := world()
		b.caps = &tiebackv1.CapabilitiesResponse{Name: "Books", MaxConcurrent: 1, Entities: []*tiebackv1.EntityCapability{{Entity: vendor, State: true}}}
		b.before = func(string) error { time.Sleep(time.Minute); return nil }
		began := time.Now()
		go func() { _, _ = e.State(t.Context(), vendor, "V-1") }()
		synctest.Wait()
		for _, c := range []struct {
			at   time.Duration // when it asks for a slot
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
