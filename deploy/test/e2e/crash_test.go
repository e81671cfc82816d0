package endtoend

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/services/connectors/ledger"
)

// tripwire closes a channel after a number of calls to Procore.
type tripwire struct {
	mu   sync.Mutex
	left int
	hit  chan struct{}
}

func (w *tripwire) set(calls int) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left, w.hit = calls, make(chan struct{})
	return w.hit
}

func (w *tripwire) around(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/rest/") {
			w.mu.Lock()
			if w.left--; w.left == 0 {
				close(w.hit)
			}
			w.mu.Unlock()
		}
		h.ServeHTTP(rw, r)
	})
}

// The pipeline is stopped in the middle of a burst, with calls to Procore and bookings in flight, several times. Nothing is
// lost and nothing is booked twice. The broker keeps running: after a restart it would redeliver only after a minute.
func TestCrashesLoseAndDuplicateNothing(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{1, 2, 3} {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			crashes(t, seed)
		})
	}
}

func crashes(t *testing.T, seed uint64) {
	const vendors, most = 100, 8
	random := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // reproducible, not secret
	wire := &tripwire{}
	w := newWorld(t, setup{around: wire.around})
	requests := w.vendors(vendors)
	srv := w.startBroker()
	t.Cleanup(srv.Close)
	fell := 0
	for range most {
		hit := wire.set(1 + random.IntN(30))
		l := w.runOn(srv)
		select {
		case <-hit:
			fell++
		case <-w.all(requests):
		}
		l.stop()
	}
	if fell < 4 {
		t.Fatalf("the pipeline was torn down %d times in the midst of work, too few", fell)
	}
	l := w.runOn(srv)
	for _, id := range requests {
		w.succeeded(id)
	}
	if booked := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); booked != vendors {
		t.Errorf("%d vendors in the books, want %d", booked, vendors)
	}
	for kind, n := range map[bus.Kind]int{bus.Delivery: len(requests), bus.Event: len(requests), bus.Outcome: len(requests), bus.Closed: len(requests), bus.Dead: 0} {
		if got := len(l.messages(kind)); got != n {
			t.Errorf("%d messages in %s, want %d", got, kind.Stream(), n)
		}
	}
	t.Logf("torn down %d times in the midst of work", fell)
}

// all returns a channel that is closed when all requests are closed.
func (w *world) all(requests []int64) <-chan struct{} {
	done := make(chan struct{})
	var news []chan struct{}
	w.mu.Lock()
	for _, id := range requests {
		news = append(news, w.newsOf(id))
	}
	w.mu.Unlock()
	ctx := w.Context()
	go func() {
		defer close(done)
		for _, n := range news {
			select {
			case <-n:
			case <-ctx.Done():
				return
			}
		}
	}()
	return done
}
