package endtoend

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/sandbox"
)

// One company is in trouble and has more events in flight than any stage has handlers. Another company's requests are closed
// meanwhile. The first company's requests are closed once the trouble is over.
func TestTroubleOfCompanyDoesNotDelayAnother(t *testing.T) {
	t.Parallel()
	const backlog, clicks, troubled, other = 600, 20, int64(firstCompany), int64(firstCompany + 1)
	for name, trouble := range map[string]struct {
		gathers    bus.Kind // the stream of the backlog
		begin, end func(*world, *deadERP) error
	}{
		"a dead ERP": {
			bus.Event,
			func(_ *world, e *deadERP) error { e.die(); return nil },
			func(_ *world, e *deadERP) error { e.rise(); return nil },
		},
		"a spent quota": {
			bus.Delivery,
			func(w *world, _ *deadERP) error { return w.sandbox.SetLimits(troubled, 5, -1) },
			func(w *world, _ *deadERP) error { return w.sandbox.SetLimits(troubled, -1, -1) },
		},
		"a revoked secret": {
			bus.Delivery,
			func(w *world, _ *deadERP) error { return w.sandbox.RotateSecret(troubled, "another-secret-0123456789") },
			func(w *world, _ *deadERP) error { return w.sandbox.RotateSecret(troubled, w.secret) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			erp := &deadERP{company: troubled, alive: make(chan struct{})}
			erp.rise()
			limits := sandbox.Config{Speed: 600} // an hour in six seconds
			w := newWorld(t, setup{companies: 2, limits: limits, driver: erp.open})
			erp.ledger = ledger.Open(t.TempDir())
			t.Cleanup(func() { w.must(erp.ledger.Close()) })
			l := w.run()
			w.must(trouble.begin(w, erp))
			var waiting, served []int64
			for range backlog {
				waiting = append(waiting, w.pressIn(troubled, "create_vendor", nil))
			}
			l.await(trouble.gathers, backlog)
			for range clicks {
				served = append(served, w.pressIn(other, "create_vendor", nil))
			}
			for _, id := range served {
				w.succeeded(id)
			}
			select {
			case <-w.all(waiting):
				t.Error("nothing waits during the trouble")
			default:
			}
			w.must(trouble.end(w, erp))
			for _, id := range waiting {
				w.succeeded(id)
			}
			if booked := len(w.sound(erp.ledger, troubled, ledger.Vendor)); booked != backlog {
				t.Errorf("%d vendors in the books, want %d", booked, backlog)
			}
		})
	}
}

// deadERP opens ledgers. While it is dead, the calls of one company hang.
type deadERP struct {
	ledger  *ledger.Ledger
	company int64
	mu      sync.Mutex
	alive   chan struct{} // closed while it is alive
}

func (e *deadERP) die() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.alive = make(chan struct{})
}

func (e *deadERP) rise() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.alive)
}

func (e *deadERP) open(ctx context.Context, company int64, settings map[string]string) (connector.Driver, error) {
	d, err := e.ledger.Opener()(ctx, company, settings)
	if err != nil || company != e.company {
		return d, err
	}
	return &hanging{d, e}, nil
}

type hanging struct {
	connector.Driver
	erp *deadERP
}

// Capabilities declares no limit of concurrent calls, so that all of them hang.
func (h *hanging) Capabilities(ctx context.Context, q *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	a, err := h.Driver.Capabilities(ctx, q)
	if err == nil {
		a.MaxConcurrent = 0
	}
	return a, err
}

func (h *hanging) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	h.erp.mu.Lock()
	alive := h.erp.alive
	h.erp.mu.Unlock()
	select {
	case <-alive:
		return h.Driver.Put(ctx, q)
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer: %w", ctx.Err())
	}
}
