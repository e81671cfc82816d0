package conformance

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// The reference driver passes all cases, and none is left out.
func TestCorrectConnectorPasses(t *testing.T) {
	r, err := Run(t.Context(), newERP(flaw{}).streamed(t), Options{})
	if err != nil || !r.OK() {
		t.Errorf("%s, %v", r.Summary(), err)
	}
	for _, x := range r.Results {
		if x.Outcome != Passed {
			t.Errorf("%s: %s: %s", x.Case.Name, x.Outcome, x.Why)
		}
	}
}

// The records of a first run do not disturb a second one.
func TestSecondRunOnTheSameBooksPasses(t *testing.T) {
	e := newERP(flaw{})
	for range 2 {
		if r, err := Run(t.Context(), e.target(), Options{}); err != nil || !r.OK() {
			t.Errorf("%s, %v", r.Summary(), err)
		}
	}
}

func TestCasesRunAsSubtests(t *testing.T) {
	target := newERP(flaw{}).target()
	target.Restart, target.Rehearse, target.Other = nil, nil, 0 // these are skipped
	Test(t, target)
}

var _ connector.Driver = (*memory)(nil)

// A connector that hangs does not block the run.
func TestHangingConnectorDoesNotBlockTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		hangs := flaw{driver: replacingPut(func(d connector.Driver, _ *erp) putFunc {
			return func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
				<-release
				return nil, context.Canceled
			}
		})}
		r, err := Run(t.Context(), newERP(hangs).target(), Options{})
		if err != nil || r.Count(Failed) != 1 || r.Results[1].Outcome != Failed || r.Results[1].Took != defaultTimeout+grace {
			t.Errorf("%s, %v", r.Summary(), err)
		}
		if last := r.Results[len(r.Results)-1]; last.Outcome != LeftOut || last.Why != "the connector did not return from the case every declared entity" {
			t.Errorf("%+v", last)
		}
		close(release)
		synctest.Wait()
	})
}

func TestInvalidTargetIsRefused(t *testing.T) {
	for want, target := range map[string]Target{
		"conformance: Target.Company is missing": {Open: func(context.Context) (connector.Driver, error) { return nil, nil }},
		"conformance: Target.Open is missing":    {Company: 7},
	} {
		if _, err := Run(t.Context(), target, Options{}); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A check that could not run does not hide what another check of the same case found.
func TestLeftOutCheckDoesNotHideAFinding(t *testing.T) {
	left, found := leaveOut("it needs a vendor"), errors.New("the total is wrong")
	for _, c := range []struct {
		checks []error
		want   Outcome
	}{
		{[]error{left, found}, Failed}, {[]error{found, left}, Failed}, {[]error{nil, left}, Passed}, {[]error{left, left}, LeftOut},
	} {
		if got := result(Case{}, findings(slices.Clone(c.checks)), 0); got.Outcome != c.want {
			t.Errorf("%v: %s, it should be %s", c.checks, got.Outcome, c.want)
		}
	}
}

func TestMessages(t *testing.T) {
	for e, want := range map[Entity]string{vendor: "a vendor", insurance: "an insurance", later: "entity 99"} {
		if got := aNoun(e); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	one := errors.New("one")
	for n, want := range map[int]string{1: "one", 3: "one\none\none", 5: "one\none\none\n… and 2 more"} {
		if got := few(slices.Insert(slices.Repeat([]error{one}, n), 1, nil)); got.Error() != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
	if few([]error{nil}) != nil {
		t.Error("nothing is something")
	}
}
