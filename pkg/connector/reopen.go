package connector

import (
	"context"
	"maps"
	"sync"

	"go.uber.org/zap"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Renew reopens each ERP whose settings changed, for example because a password was rotated. The users of an
// ERP are not affected:
//
//	calls in flight          complete on the old driver, which is then closed
//	new calls                use the new driver
//	opening fails            the old driver stays in use; this is logged once, and the next Renew
//	                         tries again
//
// Renew starts this and returns. Call it every few seconds, and call Wait after the last time.
func (s *Shared) Renew(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, open := range s.erps {
		if open.renewing || maps.Equal(open.settings(), open.opened) {
			continue
		}
		open.renewing = true // reset by renew
		s.work.Go(func() { s.renew(ctx, id, open) })
	}
}

// Wait waits until everything that Renew started has completed, including calls on replaced drivers.
func (s *Shared) Wait() { s.work.Wait() }

func (s *Shared) renew(ctx context.Context, company int64, open *shared) {
	settings := open.settings()
	d, err := open.opener(ctx, company, settings)
	s.mu.Lock()
	open.renewing = false
	if err == nil {
		open.opened, open.failed = settings, ""
	}
	repeated := err != nil && open.failed == err.Error()
	if err != nil {
		open.failed = err.Error()
	}
	s.mu.Unlock()
	log := open.erp.Log.With(zap.Int64("company", company))
	switch {
	case repeated:
	case err != nil:
		log.Error("ERP not opened with its new settings: correct them in the companies file; the old settings stay in use", zap.Error(err))
	default:
		log.Info("ERP opened with its new settings")
		if err := open.driver.replace(d); err != nil {
			log.Warn("the ERP's old driver could not be closed", zap.Error(err))
		}
	}
}

// renewable is a driver that can be replaced between two calls.
type renewable struct {
	mu      sync.Mutex
	current *counted
	closed  bool
}

// counted is a driver with its calls in flight.
type counted struct {
	Driver
	calls sync.WaitGroup
}

func newRenewable(d Driver) *renewable { return &renewable{current: &counted{Driver: d}} }

// acquire returns the current driver. The caller calls calls.Done after its call.
func (r *renewable) acquire() *counted {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current.calls.Add(1) // under the lock: a call is either counted before replace starts to wait, or uses the new driver
	return r.current
}

// currentDriver returns the driver that new calls use.
func (r *renewable) currentDriver() Driver {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current.Driver
}

// replace replaces the driver with d, waits for the calls in flight and closes the old driver. After Close it
// closes d.
func (r *renewable) replace(d Driver) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return d.Close()
	}
	old := r.current
	r.current = &counted{Driver: d}
	r.mu.Unlock()
	old.calls.Wait()
	return old.Close()
}

// Close closes the current driver.
func (r *renewable) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.current.Close()
}

func callOn[Q, A any](ctx context.Context, r *renewable, q Q, method func(Driver, context.Context, Q) (A, error)) (A, error) {
	d := r.acquire()
	defer d.calls.Done()
	return method(d.Driver, ctx, q)
}

func (r *renewable) Capabilities(ctx context.Context, q *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	return callOn(ctx, r, q, Driver.Capabilities)
}

func (r *renewable) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	return callOn(ctx, r, q, Driver.Put)
}

func (r *renewable) Find(ctx context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	return callOn(ctx, r, q, Driver.Find)
}

func (r *renewable) List(ctx context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	return callOn(ctx, r, q, Driver.List)
}

func (r *renewable) State(ctx context.Context, q *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	return callOn(ctx, r, q, Driver.State)
}

func (r *renewable) Remove(ctx context.Context, q *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	return callOn(ctx, r, q, Driver.Remove)
}
