package endtoend

import (
	"testing"
	"time"

	"github.com/tieback/tieback/services/connectors/ledger"
)

// What services/sandbox/README.md says of each recipe is true: the request succeeds and the vendor is booked once, or a dead
// letter is open.
func TestFailureRecipes(t *testing.T) {
	for _, recipe := range []string{"procore-down", "rate-limit", "lost-answer", "expired-token", "no-answer", "malformed"} {
		t.Run(recipe, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{timeout: 3 * time.Second, backoff: time.Second / 10})
			l := w.run()
			request, err := w.sandbox.Follow(firstCompany, recipe)
			w.must(err)
			if recipe == "malformed" {
				w.wait(request)
				l.listed(1)
				return
			}
			w.succeeded(request)
			if got := w.sound(l.Ledger, firstCompany, ledger.Vendor); len(got) != 1 {
				t.Errorf("the books have %v", got)
			}
			if n := w.marks(); recipe == "lost-answer" && n < 2 {
				t.Errorf("%d calls mark the vendor, want a repeated one", n)
			}
		})
	}
}
