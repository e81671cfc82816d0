package endtoend

import (
	"testing"
	"time"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/connectors/ledger"
)

// An export waits a minute for its next attempt. The ERP is back, and an operator tries it now: it is booked at once, and once.
func TestTryNow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{backoff: 30 * time.Second})
	away := w.down()
	l := w.run()
	o := l.console()
	clicked := w.press("create_vendor")
	var current *operatorv1.Current
	w.eventually(func() string {
		r, err := o.api.GetRequest(t.Context(), &operatorv1.GetRequestRequest{RequestId: clicked})
		if err != nil {
			return err.Error()
		}
		if current = r.Timeline.Current; current.GetFailure() == nil || !current.CanTryNow {
			return "the export has not failed: " + w.json(current)
		}
		return ""
	})
	try := &operatorv1.TryNowRequest{CompanyId: firstCompany, RequestId: clicked}
	away.Store(false)
	began := time.Now()
	r, err := o.api.TryNow(t.Context(), try)
	if err != nil || !r.Started {
		t.Fatalf("try now: %v (%v)", r, err)
	}
	w.succeeded(clicked)
	if took := time.Since(began); took > 20*time.Second || !current.NextAttempt.AsTime().After(time.Now()) {
		t.Errorf("it took %v; the attempt was due at %v", took, current.NextAttempt.AsTime())
	}
	if n := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); n != 1 {
		t.Errorf("%d vendors are booked, want 1", n)
	}
	if r, err = o.api.TryNow(t.Context(), try); err != nil || r.Started || r.Text != "The request is not in progress." {
		t.Errorf("once more: %v (%v)", r, err)
	}
}
