package tryton_test

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func (w *world) purchase(lines int) *tiebackv1.Record {
	r := &tiebackv1.Record{Entity: commitment, Name: unique("Contract"), JobOriginId: w.job, VendorOriginId: w.vendor}
	for i := range lines {
		r.Lines = append(r.Lines, &tiebackv1.Line{ProcoreId: int64(i + 1), Amount: fmt.Sprintf("%d.%02d", i, i), Position: int32(i + 1),
			CostCodeOriginId: w.code, CategoryOriginId: w.category})
	}
	return r
}

// named counts the purchases of a name without the driver.
func (w *world) named(r *tiebackv1.Record) int {
	w.Helper()
	var ids []int64
	w.raw(&ids, "model.purchase.purchase.search", []any{[]any{"description", "=", r.Name}}, 0, nil, nil)
	return len(ids)
}

func TestConcurrentPutsOfOneKeyBookOnce(t *testing.T) {
	w := newWorld(t)
	q := w.request(w.purchase(10))
	got := make([]*tiebackv1.Booking, 8)
	var wg sync.WaitGroup
	for i := range got {
		d := open(t, theTryton(t)) // as a process of its own
		wg.Go(func() {
			a, err := d.Put(t.Context(), q)
			if err != nil {
				t.Errorf("%v: %s", err, fault.ClassOf(err))
				return
			}
			got[i] = a.Booking
		})
	}
	wg.Wait()
	for _, b := range got {
		if !proto.Equal(b, got[0]) {
			t.Errorf("%v and %v", b, got[0])
		}
	}
	if n := w.named(q.Record); n != 1 {
		t.Errorf("%d purchases", n)
	}
}

// Two records with one new job code: one is booked, the other refused with the word "code".
func TestConcurrentJobsOfOneCode(t *testing.T) {
	w := newWorld(t)
	code := unique("J")
	var mu sync.Mutex
	var wg sync.WaitGroup
	booked, refused := 0, 0
	for i := range 4 {
		q := w.request(&tiebackv1.Record{Entity: job, Name: fmt.Sprint("Job ", i), Code: code})
		wg.Go(func() {
			_, err := w.driver.Put(t.Context(), q)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				booked++
			case fault.ClassOf(err) == fault.Permanent && fault.Field(err) == "code":
				refused++
			default:
				t.Errorf("%v: %s", err, fault.ClassOf(err))
			}
		})
	}
	wg.Wait()
	if booked != 1 || refused != 3 {
		t.Errorf("%d booked, %d refused", booked, refused)
	}
}

// The client gives up during a put. Find then has the result, and the repeated put books nothing more.
func TestTimeoutDuringPut(t *testing.T) {
	w := newWorld(t)
	w.put(w.purchase(1)) // logged in, facts known
	for i, d := range []time.Duration{5, 20, 60, 120, 200} {
		q := w.request(w.purchase(30))
		ctx, cancel := context.WithTimeout(t.Context(), d*time.Millisecond)
		_, err := w.driver.Put(ctx, q)
		cancel()
		if err != nil && fault.ClassOf(err) != fault.Ambiguous && fault.ClassOf(err) != fault.Transient {
			t.Errorf("%d: %v is %s", i, err, fault.ClassOf(err))
		}
		t.Logf("after %v: %s, %v", d*time.Millisecond, fault.ClassOf(err), err)
		w.once(q)
	}
}

// once repeats a put and expects one purchase.
func (w *world) once(q *tiebackv1.PutRequest) {
	w.Helper()
	a, err := w.driver.Put(w.Context(), q)
	if err != nil {
		w.Fatal(err)
	}
	f, err := w.driver.Find(w.Context(), &tiebackv1.FindRequest{CompanyId: company, Key: q.Key, Entity: commitment})
	if err != nil || !proto.Equal(f.Booking, a.Booking) {
		w.Errorf("found %v, %v, booked %v", f, err, a)
	}
	if n := w.named(q.Record); n != 1 {
		w.Errorf("%d purchases of one key", n)
	}
}

func TestKilledDuringPut(t *testing.T) {
	s := ownTryton(t)
	w := &world{T: t, driver: open(t, s)}
	w.master()
	for i, d := range []time.Duration{10, 40, 80, 150, 250} {
		q := w.request(w.purchase(40))
		done := make(chan error, 1)
		go func() {
			_, err := w.driver.Put(t.Context(), q)
			done <- err
		}()
		time.Sleep(d * time.Millisecond) // wherever it is by then
		s.Kill()
		err := <-done
		t.Logf("killed after %v: %v", d*time.Millisecond, err)
		if err != nil && fault.ClassOf(err) != fault.Ambiguous && fault.ClassOf(err) != fault.Transient {
			t.Errorf("%d: %v is %s", i, err, fault.ClassOf(err))
		}
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		first, err := w.driver.Put(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := w.list(commitment, "", 0)
		n := 0
		for _, c := range got {
			if c.Record.Name == q.Record.Name {
				n++
			}
		}
		if n != 1 || got[first.Booking.OriginId] == nil {
			t.Errorf("%d purchases of one key", n)
		}
	}
}

func TestOlderRequestDoesNotOverwrite(t *testing.T) {
	w := newWorld(t)
	r := &tiebackv1.Record{Entity: vendor, ProcoreId: 1<<50 + serial.Add(1), Name: "First"}
	origin := w.put(r).OriginId // request 10
	change := func(n int, name string) error {
		r := &tiebackv1.Record{Entity: vendor, ProcoreId: r.ProcoreId, OriginId: origin, Name: name}
		_, err := w.driver.Put(t.Context(), &tiebackv1.PutRequest{CompanyId: company, Key: unique("k"), Record: r, Request: by(n).Request(), Order: string(by(n)), OrderLatest: string(by(n).Latest())})
		return err
	}
	for _, tt := range []struct {
		n  int
		ok bool
	}{{12, true}, {11, false}, {9, false}, {12, true}, {0, true}, {11, false}, {13, true}} {
		err := change(tt.n, fmt.Sprint("By ", tt.n))
		if tt.ok != (err == nil) || err != nil && fault.Field(err) != "request" {
			t.Errorf("request %d: %v (field %q)", tt.n, err, fault.Field(err))
		}
	}
	got, _ := w.list(vendor, "", 0)
	if n := got[origin].Record.Name; n != "By 13" {
		t.Errorf("the name is %q", n)
	}
}

// While others write, a listing in small pages has all changes, and repeats no unchanged record.
func TestListingDuringWritesIsComplete(t *testing.T) {
	w := newWorld(t)
	_, cursor := w.list(vendor, "", 0)
	var mu sync.Mutex
	written := map[string]string{}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for n := range 3 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil && i < 40; i++ {
				r := &tiebackv1.Record{Entity: vendor, Name: fmt.Sprintf("Writer %d.%d", n, i)}
				a, err := w.driver.Put(t.Context(), w.request(r))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				written[a.Booking.OriginId] = r.Name
				mu.Unlock()
			}
		})
	}
	seen := map[string]string{}
	read := func() int {
		var got map[string]*tiebackv1.Change
		got, cursor = w.list(vendor, cursor, 2)
		for id, c := range got {
			seen[id] = c.Record.Name
		}
		return len(got)
	}
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); {
		read()
	}
	stop()
	wg.Wait()
	read()
	if n := read(); n != 0 {
		t.Errorf("%d are listed again, though nothing changed", n)
	}
	for id, name := range written {
		if seen[id] != name {
			t.Errorf("%s %q was lost", id, name)
		}
	}
	t.Logf("%d written, %d seen", len(written), len(seen))
}

// A listing does not skip a transaction that began before others and commits after them.
func TestLateCommitIsListed(t *testing.T) {
	w := newWorld(t)
	late := w.put(&tiebackv1.Record{Entity: vendor, Name: "Late"}).OriginId
	_, cursor := w.list(vendor, "", 0)
	psql := exec.CommandContext(t.Context(), "psql", "-q", theTryton(t).DatabaseURI(), "-c", fmt.Sprintf(`BEGIN;
		UPDATE party_party SET name = 'Very late' WHERE id = %[1]s;
		INSERT INTO tieback_change (record, txid) SELECT id, txid_current() FROM tieback_record WHERE entity = 'vendor' AND origin = '%[1]s';
		SELECT pg_sleep(1.5); COMMIT;`, late))
	if err := psql.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	early := w.put(&tiebackv1.Record{Entity: vendor, Name: "Early"}).OriginId
	got, cursor := w.list(vendor, cursor, 0)
	if len(got) != 1 || got[early] == nil {
		t.Errorf("before it committed: %v", got)
	}
	if err := psql.Wait(); err != nil {
		t.Fatal(err)
	}
	got, _ = w.list(vendor, cursor, 0)
	if len(got) != 1 || got[late] == nil || got[late].Record.Name != "Very late" {
		t.Errorf("after it committed: %v", got)
	}
}

// Of a reset of a vendor and a concurrent export of the vendor's contract, one is refused.
func TestConcurrentResetAndExport(t *testing.T) {
	w := newWorld(t)
	for range 6 {
		w.vendor = w.put(&tiebackv1.Record{Entity: vendor, Name: "Leaving"}).OriginId
		q := w.request(w.purchase(3))
		var wg sync.WaitGroup
		var put, removed error
		wg.Go(func() { _, put = w.driver.Put(t.Context(), q) })
		wg.Go(func() { removed = w.remove(vendor, w.vendor) })
		wg.Wait()
		if (put == nil) == (removed == nil) {
			t.Errorf("put: %v, removed: %v", put, removed)
		}
		for _, err := range []error{put, removed} {
			if err != nil && fault.ClassOf(err) != fault.Permanent {
				t.Error(err)
			}
		}
	}
}

// A cost code with bookings can't be removed. If it is deactivated, its account is closed, and the cost code that
// replaced it in Procore can have its code.
func TestDeactivatedCostCodeFreesItsCode(t *testing.T) {
	w := newWorld(t)
	code := unique("D")
	old := w.put(&tiebackv1.Record{Entity: costCode, Name: "Old", Code: code, JobOriginId: w.job})
	w.put(&tiebackv1.Record{Entity: costCode, OriginId: old.OriginId, Name: "Old", Code: code, JobOriginId: w.job, Inactive: true})
	successor := w.put(&tiebackv1.Record{Entity: costCode, Name: "New", Code: code, JobOriginId: w.job})
	if successor.OriginId == old.OriginId || w.state(costCode, old.OriginId) != present {
		t.Errorf("%v beside %v, which is %v", successor, old, w.state(costCode, old.OriginId))
	}
}
