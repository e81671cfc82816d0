package endtoend

import (
	"testing"

	"github.com/tieback/tieback/services/connectors/ledger"
)

// 1,000 exports share their close-outs: a call each to read the request, and a few for all.
func TestABurstOfAThousandCostsLittle(t *testing.T) {
	t.Parallel()
	const n, most = 1000, 1050
	w := newWorld(t, setup{})
	l := w.run()
	requests := make([]int64, n)
	for i := range requests {
		requests[i] = w.press("create_vendor")
	}
	for _, id := range requests {
		w.succeeded(id)
	}
	if calls := w.sandbox.TotalCalls(); calls > most {
		t.Errorf("%d exports cost %d Procore calls, want at most %d: %v", n, calls, most, w.sandbox.Counts())
	} else {
		t.Logf("%d exports cost %d Procore calls", n, calls)
	}
	if booked := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); booked != n {
		t.Errorf("%d vendors in the books, want %d", booked, n)
	}
}
