package connector

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

const vendor = tiebackv1.Entity_ENTITY_VENDOR

// books is a scripted driver: before and after decide the result of each call.
type books struct {
	Driver
	mu     sync.Mutex
	calls  []string                        // "put 7/3/35/0"
	booked map[string]*tiebackv1.Booking   // by key
	before func(call string) error         // returns the error of a call that does nothing
	after  func(call string) error         // returns the error of a call that was done
	caps   *tiebackv1.CapabilitiesResponse // nil: vendors, everything
	names  map[string]string               // by origin id
	gone   map[string]bool
	answer func(*tiebackv1.Booking) *tiebackv1.Booking // nil: unchanged
}

func (b *books) did(call string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, call)
	if b.before != nil {
		return b.before(call)
	}
	return nil
}

func (b *books) Put(_ context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	if err := b.did("put " + q.Key); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.booked[q.Key] == nil {
		origin := q.Record.OriginId
		if origin == "" {
			origin = fmt.Sprintf("V-%d", len(b.booked)+1)
		}
		b.booked[q.Key] = &tiebackv1.Booking{OriginId: origin, Stamp: q.Stamp}
		b.names[origin] = q.Record.Name
	}
	if b.after != nil {
		if err := b.after("put " + q.Key); err != nil {
			return nil, err
		}
	}
	answer := proto.CloneOf(b.booked[q.Key])
	if b.answer != nil {
		answer = b.answer(answer)
	}
	return &tiebackv1.PutResponse{Booking: answer}, nil
}

func (b *books) Find(_ context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	if err := b.did("find " + q.Key); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return &tiebackv1.FindResponse{Booking: b.booked[q.Key]}, nil
}

func (b *books) State(_ context.Context, q *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	if err := b.did("state"); err != nil {
		return nil, err
	}
	if b.gone[q.OriginId] {
		return &tiebackv1.StateResponse{State: tiebackv1.RecordState_RECORD_STATE_DELETED}, nil
	}
	return &tiebackv1.StateResponse{State: tiebackv1.RecordState_RECORD_STATE_PRESENT}, nil
}

func (b *books) Capabilities(context.Context, *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	if b.caps != nil {
		return b.caps, nil
	}
	return &tiebackv1.CapabilitiesResponse{Name: "Books", Entities: []*tiebackv1.EntityCapability{
		{Entity: vendor, Put: true, Update: true, List: true, State: true, Remove: true},
	}}, nil
}

// generations is a connector.Generations in memory. during is called while a generation is read.
type generations struct {
	ended  map[int64]order.Key
	during func(l *generations)
}

func (l *generations) Generation(_ context.Context, _ int64, _ string, id int64) (order.Key, error) {
	generation := l.ended[id]
	if l.during != nil {
		l.during(l)
	}
	return generation, nil
}

func (l *generations) NextGeneration(_ context.Context, _ int64, _ string, id int64, request order.Key) error {
	l.ended[id] = max(l.ended[id], request)
	return nil
}

func world() (*books, *generations, *ERP) {
	b, l := &books{booked: map[string]*tiebackv1.Booking{}, names: map[string]string{}}, &generations{ended: map[int64]order.Key{}}
	return b, l, New(b, Config{Company: 7, Generations: l})
}

// by returns the key of the nth request. All are created in the same second, and their ids decrease with time.
func by(n int) order.Key {
	return order.New(time.Date(2026, 12, 1, 10, 0, 0, n*int(time.Millisecond), time.UTC), int64(1000-n))
}

func acme() *tiebackv1.Record { return &tiebackv1.Record{Entity: vendor, ProcoreId: 35, Name: "Acme"} }

// once fails the first call with this prefix.
func once(prefix string, err error) func(string) error {
	done := false
	return func(call string) error {
		if done || !strings.HasPrefix(call, prefix) {
			return nil
		}
		done = true
		return err
	}
}

func book(t *testing.T, e *ERP, asked RequestRef, r *tiebackv1.Record) string {
	t.Helper()
	b, err := e.Book(t.Context(), asked, r)
	if err != nil {
		t.Fatal(err)
	}
	return b.OriginId
}

func refused(t *testing.T, err error, text string) {
	t.Helper()
	if fault.ClassOf(err) != fault.Permanent || !strings.Contains(fault.UserMessage(err, ""), text) {
		t.Errorf("%v: want a permanent error that contains %q", err, text)
	}
}

// If the answer is lost, the booking is looked up by key before anything is sent again.
func TestBookLooksUpALostAnswer(t *testing.T) {
	lost := fault.New(fault.Ambiguous, errors.New("connection reset"))
	for _, tt := range []struct {
		why    string
		script func(*books)
		calls  string
	}{
		{"it was booked", func(b *books) { b.after = once("put", lost) }, "put find"},
		{"it was not", func(b *books) { b.before = once("put", lost) }, "put find put"},
		{"an unclassified error is a lost answer", func(b *books) { b.after = once("put", errors.New("EOF")) }, "put find"},
	} {
		b, _, e := world()
		tt.script(b)
		book(t, e, RequestRef{Order: by(1)}, acme())
		if got := operations(b); got != tt.calls || len(b.booked) != 1 {
			t.Errorf("%s: %s, %d booked", tt.why, got, len(b.booked))
		}
	}
}

func operations(b *books) string {
	var out []string
	for _, c := range b.calls {
		op, _, _ := strings.Cut(c, " ")
		out = append(out, op)
	}
	return strings.Join(out, " ")
}

// A write is not sent again while its result can't be looked up.
func TestBookDoesNotResendWithoutLookup(t *testing.T) {
	b, _, e := world()
	b.before = func(string) error { return fault.New(fault.Ambiguous, errors.New("timeout")) }
	_, err := e.Book(t.Context(), RequestRef{Order: by(1)}, acme())
	if got := operations(b); fault.ClassOf(err) != fault.Ambiguous || got != "put find" {
		t.Errorf("%v after %s", err, got)
	}
}

// A redelivered event may have been booked before a crash.
func TestBookLooksUpARedelivery(t *testing.T) {
	b, _, e := world()
	first := book(t, e, RequestRef{Order: by(1)}, acme())
	e = New(b, e.Config) // after the crash
	for range 2 {
		if second := book(t, e, RequestRef{Order: by(1), Redelivered: true}, acme()); second != first || operations(b) != "put find" {
			t.Errorf("%s then %s: %s", first, second, operations(b))
		}
	}
}

func TestCallsAreRetriedByClass(t *testing.T) {
	for _, tt := range []struct {
		class fault.Class
		calls int
	}{{fault.Transient, 3}, {fault.Throttled, 1}, {fault.Permanent, 1}} {
		synctest.Test(t, func(t *testing.T) {
			b, _, e := world()
			b.before = func(string) error {
				return &fault.Error{Class: tt.class, Err: errors.New("no"), RetryAfter: time.Second}
			}
			if _, err := e.State(t.Context(), vendor, "V-1"); fault.ClassOf(err) != tt.class || len(b.calls) != tt.calls {
				t.Errorf("%v: %v after %d calls, want %d", tt.class, err, len(b.calls), tt.calls)
			}
		})
	}
}

// hangs is a driver whose calls block until their context ends.
type hangs struct{ *books }

func (h hangs) State(ctx context.Context, _ *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	_ = h.did("state")
	<-ctx.Done()
	return nil, ctx.Err()
}

func (h hangs) Remove(ctx context.Context, _ *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	_ = h.did("remove")
	<-ctx.Done()
	return nil, ctx.Err()
}

// A call that hangs must release its slot: otherwise a few such calls would block the company's ERP forever.
func TestHangingCallReleasesItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, l, _ := world()
		b.caps = &tiebackv1.CapabilitiesResponse{MaxConcurrent: 1, Entities: []*tiebackv1.EntityCapability{{Entity: vendor, State: true, Remove: true}}}
		e := New(hangs{b}, Config{Company: 7, Generations: l})
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		start := time.Now()
		if _, err := e.State(ctx, vendor, "V-1"); fault.ClassOf(err) != fault.Transient || err == nil {
			t.Errorf("a read that hangs: %v", err)
		}
		if err := e.Remove(ctx, by(9), vendor, "V-1"); fault.ClassOf(err) != fault.Ambiguous {
			t.Errorf("a write that hangs: %v", err)
		}
		if took := time.Since(start); took != 2*callTimeout || len(b.calls) != 2 {
			t.Errorf("two calls, %v, took %v; want %v each, without an immediate retry", b.calls, took, callTimeout)
		}
	})
}

// named returns acme with another name.
func named(name string) *tiebackv1.Record {
	r := acme()
	r.Name = name
	return r
}

// A record is exported again after a booking that was never reported to Procore: the ERP's record is updated, and
// nothing new is booked. This also holds if the content is that of the first export again, after another one.
func TestLaterRequestChangesAnEarlierBooking(t *testing.T) {
	b, _, e := world()
	for i, name := range []string{"Acme", "Acme & Sons", "Acme"} {
		if origin := book(t, e, RequestRef{Order: by(i + 1)}, named(name)); origin != "V-1" || b.names["V-1"] != name {
			t.Errorf("request %d: %s is called %q", i+1, origin, b.names["V-1"])
		}
	}
}

// A record that can't be changed is adopted if there is nothing to change, for example after Procore refused the mark
// of the record or of a line. Otherwise the refusal says what to do.
func TestUnchangeableRecordIsAdoptedIfItIsTheSame(t *testing.T) {
	b, _, e := world()
	b.caps = &tiebackv1.CapabilitiesResponse{Name: "Books", Entities: []*tiebackv1.EntityCapability{{Entity: vendor, Put: true}}}
	book(t, e, RequestRef{Order: by(1)}, acme())
	marked := acme()
	marked.OriginId, marked.OriginData = "V-1", "from us"
	for i, r := range []*tiebackv1.Record{acme(), marked} {
		if origin := book(t, e, RequestRef{Order: by(i + 2)}, r); origin != "V-1" || len(b.booked) != 1 {
			t.Errorf("%s, %d booked", origin, len(b.booked))
		}
	}
	_, err := e.Book(t.Context(), RequestRef{Order: by(4)}, named("Other"))
	refused(t, err, "is already in Books, as V-1")
}

// A record that was deleted in the ERP before its booking was reported to Procore can be exported again.
func TestRecordDeletedInTheERPIsBookedAgain(t *testing.T) {
	b, l, e := world()
	book(t, e, RequestRef{Order: by(1)}, acme())
	b.gone = map[string]bool{"V-1": true}
	again := book(t, e, RequestRef{Order: by(2)}, acme())
	if again != "V-2" || l.ended[35] != by(1) || book(t, e, RequestRef{Order: by(2), Redelivered: true}, acme()) != again || len(b.booked) != 2 {
		t.Errorf("%s, generation %s, %d booked", again, l.ended[35], len(b.booked))
	}
}

// An event that needs more calls than the ERP's limit makes progress between throttled answers.
func TestThrottledLargeEventMakesProgress(t *testing.T) {
	const records, window = 15, 10
	b, _, e := world()
	left := 0
	b.before = func(string) error {
		if left--; left < 0 {
			return fault.Wait(time.Minute, errors.New("enough"))
		}
		return nil
	}
	for attempt := 1; attempt <= 3; attempt++ {
		left = window
		done := 0
		for ; done < records; done++ {
			r := acme()
			r.ProcoreId = int64(done + 1)
			if _, err := e.Book(t.Context(), RequestRef{Order: by(1), Redelivered: attempt > 1}, r); err != nil {
				break
			}
		}
		if done == records {
			return
		}
	}
	t.Errorf("%d of %d are booked", len(b.booked), records)
}

// An invalid answer is an error, not a panic or a success.
func TestInvalidAnswersAreErrors(t *testing.T) {
	for why, wrong := range map[string]func(*books){
		"no booking": func(b *books) { b.answer = func(*tiebackv1.Booking) *tiebackv1.Booking { return nil } },
		"another record's": func(b *books) {
			b.answer = func(*tiebackv1.Booking) *tiebackv1.Booking { return &tiebackv1.Booking{OriginId: "V-9"} }
		},
		"a change of fewer lines": func(b *books) {
			b.answer = func(k *tiebackv1.Booking) *tiebackv1.Booking { k.LineOriginIds = []string{"x"}; return k }
		},
		"a negative limit of calls": func(b *books) { b.caps = &tiebackv1.CapabilitiesResponse{MaxConcurrent: -1} },
	} {
		b, _, e := world()
		wrong(b)
		r := acme()
		r.OriginId = "V-1"
		if _, err := e.Book(t.Context(), RequestRef{Order: by(1)}, r); fault.ClassOf(err) != fault.Permanent {
			t.Errorf("%s: %v", why, err)
		}
	}
}

func TestOlderRequestIsRefused(t *testing.T) {
	t.Run("after an unlink", func(t *testing.T) {
		b, l, e := world()
		_ = l.NextGeneration(t.Context(), 7, "", 35, by(5))
		_, err := e.Book(t.Context(), RequestRef{Order: by(4)}, acme())
		refused(t, err, "made in the same second, has already unlinked or reset")
		if len(b.calls) > 0 {
			t.Error(b.calls)
		}
	})
	t.Run("after a newer export of the same record", func(t *testing.T) {
		b, _, e := world()
		book(t, e, RequestRef{Order: by(5)}, named("New"))
		_, err := e.Book(t.Context(), RequestRef{Order: by(4)}, named("Old"))
		refused(t, err, "made in the same second, has already changed")
		if b.names["V-1"] != "New" {
			t.Error(b.names)
		}
	})
	t.Run("after a newer change", func(t *testing.T) {
		b, _, e := world()
		b.before = once("put", fault.Refused("request", "no"))
		_, err := e.Book(t.Context(), RequestRef{Order: by(4)}, acme())
		refused(t, err, "made in the same second, has already changed")
	})
	t.Run("unlinked while it was booked", func(t *testing.T) {
		b, l, e := world()
		l.during = func(l *generations) { l.ended[35] = by(9) }
		_, err := e.Book(t.Context(), RequestRef{Order: by(4)}, acme())
		refused(t, err, "in your ERP system as V-1")
		if len(b.booked) != 1 {
			t.Error(b.booked)
		}
	})
	t.Run("unlinked while it was changed", func(t *testing.T) {
		_, l, e := world()
		l.during = func(l *generations) { l.ended[35] = by(9) }
		r := acme()
		r.OriginId = "V-1"
		_, err := e.Book(t.Context(), RequestRef{Order: by(4)}, r)
		refused(t, err, "while it was being exported")
	})
	t.Run("a new generation is a new booking", func(t *testing.T) {
		_, l, e := world()
		first := book(t, e, RequestRef{Order: by(1)}, acme())
		_ = l.NextGeneration(t.Context(), 7, "", 35, by(5))
		if second := book(t, e, RequestRef{Order: by(6)}, acme()); second == first {
			t.Error("the re-export got the old booking")
		}
	})
}

// Of two requests of the same second, one of which has no fraction, the first one booked wins.
func TestUnknownOrderKeepsTheFirst(t *testing.T) {
	whole := func(id int64) order.Key { return order.New(time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC), id) }
	for name, c := range map[string]struct{ first, second order.Key }{
		"the second without a fraction": {by(5), whole(1)},
		"the first without a fraction":  {whole(1), by(5)},
		"both without, ids grow":        {whole(1), whole(2)},
		"both without, ids fall":        {whole(2), whole(1)},
	} {
		t.Run(name+", both exports", func(t *testing.T) {
			b, _, e := world()
			book(t, e, RequestRef{Order: c.first}, named("First"))
			_, err := e.Book(t.Context(), RequestRef{Order: c.second}, named("Second"))
			refused(t, err, "one made in the same second")
			if b.names["V-1"] != "First" {
				t.Error(b.names)
			}
			book(t, e, RequestRef{Order: c.first, Redelivered: true}, named("First"))
		})
		t.Run(name+", an export after an unlink", func(t *testing.T) {
			b, l, e := world()
			_ = l.NextGeneration(t.Context(), 7, "", 35, c.first)
			_, err := e.Book(t.Context(), RequestRef{Order: c.second}, acme())
			refused(t, err, "one made in the same second")
			if len(b.calls) > 0 {
				t.Error(b.calls)
			}
		})
	}
}

// What an ERP does not declare is refused with a message, without a call.
func TestUndeclaredOperationsAreRefused(t *testing.T) {
	b, _, e := world()
	b.caps = &tiebackv1.CapabilitiesResponse{Name: "Books"}
	budget := tiebackv1.Entity_ENTITY_BUDGET
	_, err := e.Book(t.Context(), RequestRef{Order: by(1)}, &tiebackv1.Record{Entity: budget, ProcoreId: 1, Name: "B"})
	refused(t, err, `Books takes no budgets from Procore, so budget "B" was not exported`)
	_, err = e.State(t.Context(), budget, "B-1")
	refused(t, err, "does not report")
	refused(t, e.Remove(t.Context(), by(1), budget, "B-1"), "Delete it there")
	for _, err := range e.Changes(t.Context(), &tiebackv1.ListRequest{Entity: budget}) {
		refused(t, err, "does not list its budgets")
	}
	if len(b.calls) > 0 {
		t.Error(b.calls)
	}
}

func TestCallsKeepToTheConcurrencyLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, e := world()
		b.caps = &tiebackv1.CapabilitiesResponse{MaxConcurrent: 2, Entities: []*tiebackv1.EntityCapability{{Entity: vendor, State: true}}}
		var now, most atomic.Int32
		b.before = func(string) error {
			b.mu.Unlock()
			defer b.mu.Lock()
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return nil
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := e.State(t.Context(), vendor, "V-1"); err != nil {
					t.Error(err)
				}
			})
		}
		start := time.Now()
		wg.Wait()
		if most.Load() != 2 || time.Since(start) != 2*time.Second {
			t.Errorf("%d at once, 4 calls in %v", most.Load(), time.Since(start))
		}
	})
}

func TestBookingWithoutALineIsAnError(t *testing.T) {
	_, _, e := world()
	r := acme()
	r.Lines = []*tiebackv1.Line{{Position: 1, Amount: "1.00"}}
	if _, err := e.Book(t.Context(), RequestRef{Order: by(1)}, r); fault.ClassOf(err) != fault.Permanent {
		t.Error(err)
	}
}

// 100 callers do not wait for an unreachable ERP one after the other.
func TestCallersShareTheCapabilitiesError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dead{}
		e := New(d, Config{Company: 7})
		var wg sync.WaitGroup
		start := time.Now()
		for range 100 {
			wg.Go(func() {
				if _, err := e.State(t.Context(), vendor, "V-1"); fault.ClassOf(err) != fault.Transient {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took > 2*time.Minute || d.asked.Load() > maxAttempts {
			t.Errorf("asked %d times in %v", d.asked.Load(), took)
		}
	})
}

// dead is an ERP that does not answer for half a minute.
type dead struct {
	Driver
	asked atomic.Int32
}

func (d *dead) Capabilities(context.Context, *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	d.asked.Add(1)
	time.Sleep(30 * time.Second)
	return nil, fault.New(fault.Transient, errors.New("no answer"))
}

// After a connector stopped answering, its last capabilities are used without a delay.
func TestLastCapabilitiesAreUsedWhenTheERPIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, e := world()
		if _, err := e.State(t.Context(), vendor, "V-1"); err != nil {
			t.Fatal(err)
		}
		d := &dying{books: b}
		e.driver = d
		time.Sleep(2 * capabilitiesTTL)
		start := time.Now()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { _, _ = e.State(t.Context(), vendor, "V-1") })
		}
		wg.Wait()
		if took := time.Since(start); took > 2*time.Minute || d.asked.Load() > maxAttempts {
			t.Errorf("asked %d times in %v", d.asked.Load(), took)
		}
	})
}

type dying struct {
	*books
	asked atomic.Int32
}

func (d *dying) Capabilities(context.Context, *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	d.asked.Add(1)
	time.Sleep(30 * time.Second)
	return nil, fault.New(fault.Transient, errors.New("no answer"))
}

// A call that waits too long for a slot is throttled: the event waits at the broker, and the attempt is not counted.
func TestBusyERPDoesNotOccupyWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, e := world()
		b.caps = &tiebackv1.CapabilitiesResponse{MaxConcurrent: 1, Entities: []*tiebackv1.EntityCapability{{Entity: vendor, State: true}}}
		b.before = func(string) error {
			b.mu.Unlock()
			defer b.mu.Lock()
			time.Sleep(time.Minute)
			return nil
		}
		var first sync.WaitGroup
		first.Go(func() { _, _ = e.State(t.Context(), vendor, "V-1") })
		defer first.Wait()
		time.Sleep(time.Second)
		start := time.Now()
		_, err := e.State(t.Context(), vendor, "V-2")
		if fault.ClassOf(err) != fault.Throttled || fault.RetryAfter(err) < time.Second || time.Since(start) != queueTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// The first of two writes was still in flight, and the second is refused because of it.
func TestRefusalAfterALostAnswerIsLookedUp(t *testing.T) {
	b, _, e := world()
	puts := 0
	b.before = func(call string) error {
		key, isPut := strings.CutPrefix(call, "put ")
		if !isPut {
			return nil
		}
		if puts++; puts == 1 {
			return fault.New(fault.Ambiguous, errors.New("timeout"))
		}
		b.booked[key] = &tiebackv1.Booking{OriginId: "V-1"} // now it arrives
		return fault.Refused("code", "The code is taken.")
	}
	if origin := book(t, e, RequestRef{Order: by(1)}, acme()); origin != "V-1" || operations(b) != "put find put find" {
		t.Errorf("%s after %s", origin, operations(b))
	}
}

// An endless listing is a permanent error of the ERP.
func TestEndlessListIsAnError(t *testing.T) {
	change := func(id string) []*tiebackv1.Change {
		return []*tiebackv1.Change{{Record: &tiebackv1.Record{Entity: vendor, OriginId: id}}}
	}
	for name, page := range map[string]func(n int) *tiebackv1.ListResponse{
		"the same cursor": func(n int) *tiebackv1.ListResponse {
			return &tiebackv1.ListResponse{Changes: change(fmt.Sprint(n)), Cursor: "c", More: true}
		},
		"a new cursor, no records": func(n int) *tiebackv1.ListResponse { return &tiebackv1.ListResponse{Cursor: fmt.Sprint(n), More: true} },
		"a new cursor, the same": func(n int) *tiebackv1.ListResponse {
			return &tiebackv1.ListResponse{Changes: change("V1"), Cursor: fmt.Sprint(n), More: true}
		},
		"the same without an id": func(n int) *tiebackv1.ListResponse {
			return &tiebackv1.ListResponse{Changes: change(""), Cursor: fmt.Sprint(n), More: true}
		},
		"the same, in turn": func(n int) *tiebackv1.ListResponse {
			return &tiebackv1.ListResponse{Changes: change(fmt.Sprint(n % 50)), Cursor: fmt.Sprint(n), More: true}
		},
		"a large cursor, no records": func(n int) *tiebackv1.ListResponse {
			return &tiebackv1.ListResponse{Cursor: fmt.Sprint(n, strings.Repeat("x", 1<<10)), More: true}
		},
	} {
		b, _, _ := world()
		e, pages, last := New(&paged{books: b, page: page}, Config{Company: 7}), 0, error(nil)
		for _, err := range e.Changes(t.Context(), &tiebackv1.ListRequest{Entity: vendor}) {
			if last = err; pages == 1000 {
				break
			}
			pages++
		}
		if fault.ClassOf(last) != fault.Permanent || fault.CauseOf(last) != fault.ERP || !strings.Contains(fmt.Sprint(last), "the connector reports more vendors") {
			t.Errorf("%s: %d pages, %v", name, pages, last)
		}
	}
}

// Repeated records and empty pages are accepted as long as new records follow.
func TestLongListIsRead(t *testing.T) {
	b, _, _ := world()
	const pages = 5000
	e := New(&paged{books: b, page: func(n int) *tiebackv1.ListResponse {
		a := &tiebackv1.ListResponse{Cursor: fmt.Sprint(n), More: n < pages}
		if n%50 == 0 {
			a.Changes = []*tiebackv1.Change{{Record: &tiebackv1.Record{OriginId: fmt.Sprint(n)}}, {Record: &tiebackv1.Record{OriginId: "V1"}}}
		}
		return a
	}}, Config{Company: 7})
	n := 0
	for _, err := range e.Changes(t.Context(), &tiebackv1.ListRequest{Entity: vendor}) {
		if n++; err != nil {
			t.Fatalf("page %d: %v", n, err)
		}
	}
	if n != pages {
		t.Errorf("%d pages", n)
	}
}

// The total number of records is bounded, too.
func TestListOfTooManyRecordsIsAnError(t *testing.T) {
	l := newListing(&tiebackv1.ListRequest{Entity: vendor})
	l.pages = maxChanges
	if err := l.add(&tiebackv1.ListResponse{Changes: []*tiebackv1.Change{{Record: &tiebackv1.Record{OriginId: "V1"}}}, Cursor: "c", More: true}); fault.ClassOf(err) != fault.Permanent {
		t.Errorf("%v", err)
	}
	l.cursors = map[uint64]bool{}
	if err := l.add(&tiebackv1.ListResponse{Cursor: "c"}); err != nil {
		t.Errorf("the last page: %v", err)
	}
}

// paged is an ERP whose nth List, from 1, returns a page.
type paged struct {
	*books
	page func(n int) *tiebackv1.ListResponse
	n    int
}

func (p *paged) List(context.Context, *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	p.n++
	return p.page(p.n), nil
}

// Cursors that repeat are an error.
func TestRepeatedCursorsAreAnError(t *testing.T) {
	b, _, _ := world()
	e := New(rounds{b}, Config{Company: 7})
	pages := 0
	for _, err := range e.Changes(t.Context(), &tiebackv1.ListRequest{Entity: vendor}) {
		if pages++; err != nil {
			if fault.ClassOf(err) != fault.Permanent {
				t.Error(err)
			}
			return
		}
		if pages > 10 {
			break
		}
	}
	t.Errorf("%d pages, and no end", pages)
}

type rounds struct{ *books }

func (rounds) List(_ context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	next := map[string]string{"": "a", "a": "b", "b": "a"}
	return &tiebackv1.ListResponse{Cursor: next[q.Cursor], More: true}, nil
}
