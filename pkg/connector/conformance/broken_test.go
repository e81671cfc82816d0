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

// flaw breaks a correct connector.
type flaw struct {
	name    string
	driver  func(connector.Driver, *erp) connector.Driver // wraps each driver; nil: not wrapped
	stream  func(PutStream, *erp) PutStream               // wraps each stream; nil: the connector offers none
	restart func(*erp)                                    // loses data at a restart; nil: nothing is lost
	immune  bool                                          // a restart does not end the drivers
	caught  []string                                      // the cases that must catch it; others may too
}

var allFlaws = slices.Concat(flaws, streamFlaws)

// Each test wraps the reference driver with one flaw. With -v it prints which cases caught the flaw.
func TestBrokenConnectorsAreCaught(t *testing.T) {
	reports := runs(t)
	caught := map[string][]string{}
	for _, f := range allFlaws {
		t.Run(f.name, func(t *testing.T) {
			caught[f.name] = failed(reports[f.name])
			f.check(t, reports[f.name], caught[f.name])
		})
	}
	if testing.Verbose() {
		t.Log("\n" + table(caught))
	}
}

// runs runs the suite against each broken connector, six at a time, as they mostly sleep.
func runs(t *testing.T) map[string]Report {
	var mu sync.Mutex
	out := map[string]Report{}
	var g errgroup.Group
	g.SetLimit(6)
	for _, f := range allFlaws {
		g.Go(func() error {
			e := newERP(f)
			target := e.target()
			if f.stream != nil {
				target = e.streamed(t)
			}
			r, err := Run(t.Context(), target, Options{})
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

// failed returns the names of the failed cases.
func failed(r Report) []string {
	var out []string
	for _, x := range r.Results {
		if x.Outcome == Failed {
			out = append(out, x.Case.Name)
		}
	}
	return out
}

// check reports the cases that must catch the flaw and did not.
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
	for _, f := range allFlaws {
		fmt.Fprintf(w, "%s\t%s\n", f.name, strings.Join(caught[f.name], ", "))
	}
	_ = w.Flush() // into memory
	return out.String()
}

// A case that every broken connector passes proves nothing.
func TestEveryCaseCatchesAFlaw(t *testing.T) {
	for _, c := range Cases() {
		if !slices.ContainsFunc(allFlaws, func(f flaw) bool { return slices.Contains(f.caught, c.Name) }) {
			t.Errorf("no flaw is caught by %q", c.Name)
		}
	}
}

// A connector that declares nothing must not pass.
func TestEmptyCapabilitiesFail(t *testing.T) {
	nothing := flaw{driver: func(d connector.Driver, _ *erp) connector.Driver { return &broken{Driver: d, caps: declareNothing} }}
	r, err := Run(t.Context(), newERP(nothing).target(), Options{})
	if want := "failed: nothing was proved: the connector declares no entity that it books (put)"; err != nil || r.OK() || r.Summary() != want && r.Count(Failed) == 0 {
		t.Errorf("%s, %v", r.Summary(), err)
	}
}
