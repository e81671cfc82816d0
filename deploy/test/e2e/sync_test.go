package endtoend

import (
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/services/connectors/ledger"
)

// A sync does not send again what has not changed. The second sync of 10,000 vendors, half of them synced and half waiting for
// their import, only closes its request detail.
func TestSyncSendsOnlyChanges(t *testing.T) {
	t.Parallel()
	const n, most = 10_000, 2
	w := newWorld(t, setup{})
	l := w.run()
	books, err := l.Ledger.Company(t.Context(), firstCompany)
	w.must(err)
	t.Cleanup(func() { w.must(books.Close()) })
	var g errgroup.Group
	g.SetLimit(256)
	origins := make([]string, n)
	for i := range n {
		g.Go(func() error {
			r, err := books.Add(t.Context(), &ledger.Record{Entity: ledger.Vendor, Name: fmt.Sprintf("Vendor %d", i)})
			origins[i] = r.GetOriginId()
			return err
		})
	}
	w.must(g.Wait())
	sync := func() int {
		before := len(w.sandbox.Writes())
		w.succeeded(w.press("sync_vendors"))
		return len(w.sandbox.Writes()) - before
	}
	first := sync()
	if staged := len(w.sandbox.Staged(firstCompany, "vendor")); staged != n {
		t.Fatalf("%d of %d vendors are ready to import", staged, n)
	}
	w.linkVendors(origins[:n/2])
	second := sync()
	t.Logf("%d vendors: %d writes to Procore in the first sync, %d in the second", n, first, second)
	if second > most || first < n/1000 {
		t.Errorf("%d writes, then %d; want at most %d in the second sync", first, second, most)
	}
	_, err = books.Update(t.Context(), &ledger.Record{Entity: ledger.Vendor, OriginId: origins[4711], Name: "Renamed"})
	w.must(err)
	if third := sync(); third != 2 { // the one vendor, and the close-out
		t.Errorf("one changed vendor took %d writes", third)
	}
}

// linkVendors links vendors of the ERP with vendors of Procore, all at once.
func (w *world) linkVendors(origins []string) {
	w.Helper()
	var vendors []any
	for _, origin := range origins {
		id, err := w.sandbox.CreateRecord(firstCompany, "vendor")
		w.must(err)
		w.must(w.sandbox.Link(firstCompany, "vendor", id, origin))
		vendors = append(vendors, map[string]any{"id": id, "origin_id": origin, "name": origin})
	}
	w.wait(w.pressIn(firstCompany, "link_all_vendors", map[string]any{"request_data": map[string]any{"vendors": vendors}}))
}
