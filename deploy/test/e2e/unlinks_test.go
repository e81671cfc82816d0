package endtoend

import (
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/services/sandbox"
)

// A Procore with the status management route, which is only inferred, and one without it: every unlink is made, and a
// route that is not there is asked for once, not once an event.
func TestUnlinksWithAndWithoutStatusManagement(t *testing.T) {
	t.Parallel()
	for name, without := range map[string]bool{"with": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{limits: sandbox.Config{NoStatusManagement: without}})
			w.run()
			for range 3 {
				var requests []int64
				for _, row := range catalogue.Of(catalogue.Unlink) {
					requests = append(requests, w.press(row.Name))
				}
				requests = append(requests, w.press("reset_payment"))
				for _, id := range requests {
					r := w.wait(id)
					if r.Outcome() == sandbox.Failed || len(r.TooEarly) > 0 || w.isDead(id) {
						t.Errorf("%s: %+v", r.EventType, r)
					}
				}
			}
			asked := map[string]int{}
			for _, c := range w.sandbox.Writes() {
				if strings.HasSuffix(c.Path, "/unlink") {
					asked[c.Pattern]++
				}
				if c.Status == 404 != (without && strings.HasSuffix(c.Path, "/unlink")) {
					t.Errorf("%s %s: %d", c.Method, c.Path, c.Status)
				}
			}
			for pattern, n := range asked {
				if without && n != 1 {
					t.Errorf("%s was asked for %d times", pattern, n)
				}
			}
			if len(asked) != 2 {
				t.Errorf("asked for %v, want both routes", asked)
			}
		})
	}
}
