package conformance

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/connector"
)

// flaw makes a right connector a wrong one.
type flaw struct {
	name    string
	driver  func(connector.Driver, *erp) connector.Driver // wraps each driver; nil: as it is
	restart func(*erp)                                    // what a restart loses; nil: nothing
	immune  bool                                          // a restart kills nothing
	caught  []string                                      // the cases that must catch it; others may too
}

// TestBrokenConnectorsAreCaught wraps the reference driver with one fault after the other.
// With -v it prints which cases caught it.
func TestBrokenConnectorsAreCaught(t *testing.T) {
	reports := runs(t)
	caught := map[string][]string{}
	for _, f := range flaws {
		t.Run(f.name, func(t *testing.T) {
			caught[f.name] = failed(reports[f.name])
			f.check(t, reports[f.name], caught[f.name])
		})
	}
	if testing.Verbose() {
		t.Log("\n" + table(caught))
	}
}

// runs runs the suite against each broken connector, six at once: they mostly sleep.
func runs(t *testing.T) map[string]Report {
	var mu sync.Mutex
	out := map[string]Report{}
	var g errgroup.Group
	g.SetLimit(6)
	for _, f := range flaws {
		g.Go(func() error {
			r, err := Run(t.Context(), newERP(f).target(), Options{})
			mu.Lock()
			defer mu.Unlock()
			out[f.name] = r
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	return out
}

// failed are the names of the cases that failed.
func failed(r Report) []string {
	var out []string
	for _, x := range r.Results {
		if x.Outcome == Failed {
			out = append(out, x.Case.Name)
		}
	}
	return out
}

// check says which of the cases that must catch the flaw did not.
func (f flaw) check(t *testing.T, r Report, got []string) {
	if r.OK() {
		t.Error("passed")
	}
	for _, want := range f.caught {
		if !slices.ContainsFunc(Cases(), func(c Case) bool { return c.Name == want }) {
			t.Errorf("there is no case %q", want)
		}
		if !slices.Contains(got, want) {
			t.Errorf("not caught by %q, but by %q", want, got)
		}
	}
}

func table(caught map[string][]string) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "a connector that …\tis caught by")
	for _, f := range flaws {
		fmt.Fprintf(w, "%s\t%s\n", f.name, strings.Join(caught[f.name], ", "))
	}
	_ = w.Flush() // into memory
	return out.String()
}

// TestEachCaseCatchesSomething: a case that no broken connector fails proves nothing.
func TestEachCaseCatchesSomething(t *testing.T) {
	for _, c := range Cases() {
		if !slices.ContainsFunc(flaws, func(f flaw) bool { return slices.Contains(f.caught, c.Name) }) {
			t.Errorf("no flaw is caught by %q", c.Name)
		}
	}
}

// TestNothingDeclaredProvesNothing: an empty declaration must not pass.
func TestNothingDeclaredProvesNothing(t *testing.T) {
	nothing := flaw{driver: func(d connector.Driver, _ *erp) connector.Driver { return &broken{Driver: d, caps: declareNothing} }}
	r, err := Run(t.Context(), newERP(nothing).target(), Options{})
	if want := "failed: nothing was proved: the connector declares no entity that it books (put)"; err != nil || r.OK() || r.Summary() != want && r.Count(Failed) == 0 {
		t.Errorf("%s, %v", r.Summary(), err)
	}
}
