package endtoend

import (
	"testing"
	"time"

	"github.com/tieback/tieback/services/connectors/ledger"
)

// A process with all stages but ingest is killed in the middle of a burst and started again at once. What it had in flight waits for
// the end of its ack wait, not for half a minute, and is booked once.
func TestRecoveryAfterKill(t *testing.T) {
	t.Parallel()
	const vendors = 300
	wire := &tripwire{}
	w := newWorld(t, setup{around: wire.around})
	url := w.listeningBroker()
	l := w.runIngest(url)
	amid := wire.set(vendors / 2)
	v := w.startVictim(url)
	requests := w.vendors(vendors)
	<-amid
	w.must(v.kill())
	<-v.died
	killed := time.Now()
	v = w.startVictim(url)
	<-w.all(requests)
	took := time.Since(killed)
	_ = v.stdin.Close()
	<-v.died
	for _, id := range requests {
		w.succeeded(id)
	}
	if booked := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); booked != vendors {
		t.Errorf("%d vendors in the books, want %d", booked, vendors)
	}
	// It took 3 to 4 s on a busy machine, 2 s of them the ack wait; with an ack wait of 30 s it took 32.
	if took > 20*time.Second {
		t.Errorf("the last request was closed %v after the kill", took)
	}
	t.Logf("the last request was closed %v after the kill", took)
}
