package endtoend

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/sandbox"
)

// A Procore that takes no more than 30 updates a call, and answers 413, or takes more and answers 504: nothing is
// lost, nothing is doubled, and each close-out says what is so.
func TestAProcoreThatTakesOnlySmallCalls(t *testing.T) {
	t.Parallel()
	const n, above = 300, 30
	for _, rule := range []sandbox.FaultRule{{Status: 413}, {Status: 504, Done: true}} {
		t.Run(fmt.Sprint(rule.Status), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{})
			rule.Kind, rule.Above, rule.Seconds = sandbox.FaultStatus, above, 3600
			w.must(w.sandbox.Fail(rule))
			l := w.run()
			books, err := l.Ledger.Company(t.Context(), firstCompany)
			w.must(err)
			t.Cleanup(func() { w.must(books.Close()) })
			var g errgroup.Group
			g.SetLimit(256)
			for i := range n {
				g.Go(func() error {
					_, err := books.Add(t.Context(), &ledger.Record{Entity: ledger.Vendor, Name: fmt.Sprintf("Vendor %d", i)})
					return err
				})
			}
			w.must(g.Wait())
			w.succeeded(w.press("sync_vendors"))
			if staged := len(w.sandbox.Staged(firstCompany, "vendor")); staged != n {
				t.Errorf("%d of %d vendors are ready to import", staged, n)
			}
			var requests []int64
			for range n {
				requests = append(requests, w.press("create_vendor"))
			}
			for _, id := range requests {
				w.succeeded(id)
				if w.isDead(id) {
					t.Errorf("request %d is a dead letter", id)
				}
			}
			w.sound(l.Ledger, firstCompany, ledger.Vendor)
			if !slices.ContainsFunc(w.sandbox.Writes(), func(c sandbox.Call) bool {
				return c.Status == rule.Status && strings.Contains(c.Path, "staged_records")
			}) {
				t.Error("no sync was too large: the test proves nothing")
			}
		})
	}
}
