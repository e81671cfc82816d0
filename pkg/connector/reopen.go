package connector

import (
	"context"
	"maps"
	"sync"

	"go.uber.org/zap"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Renew opens anew each ERP whose settings are no longer those it was opened with, such as
// a password that was rotated. Whoever holds the ERP does not notice:
//
//	calls under way     end on the old driver, which is then closed
//	calls from then on  go to the new one
//	the new won't open  the old stays; logged once, and tried again by the next Renew
//
// Renew starts this and returns. Call it every few seconds, and Wait after the last.
func (s *Shared) Renew(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, open := range s.erps {
		if open.renewing || maps.Equal(open.settings(), open.opened) {
			continue
		}
		open.renewing = true // cleared by renew
		s.work.Go(func() { s.renew(ctx, id, open) })
	}
}

// Wait waits until all that Renew started has ended, calls on replaced drivers included.
func (s *Shared) Wait() { s.work.Wait() }

func (s *Shared) renew(ctx context.Context, company int64, open *shared) {
	settings := open.settings()
	d, err := open.opener(ctx, company, settings)
	s.mu.Lock()
	open.renewing = false
	if err == nil {
		open.opened, open.failed = settings, ""
	}
	again := err != nil && open.failed == err.Error()
	if err != nil {
		open.failed = err.Error()
	}
	s.mu.Unlock()
	log := open.erp.Log.With(zap.Int64("company", company))
	switch {
	case again:
	case err != nil:
		log.Error("ERP not opened with its new settings: correct them in the companies file; until then the old ones are used", zap.Error(err))
	default:
		log.Info("ERP opened with its new settings")
		if err := open.driver.replace(d); err != nil {
			log.Warn("the ERP's old driver did not close", zap.Error(err))
		}
	}
}

// renewable is a driver whose place another can take between two calls.
type renewable struct {
	mu     sync.Mutex
	now    *held
	closed bool
}

// held is a driver with the calls that are under way on it.
type held struct {
	Driver
	calls sync.WaitGroup
}

func newRenewable(d Driver) *renewable { return &renewable{now: &held{Driver: d}} }

// hold gives the driver of now; its calls must be told when done.
func (r *renewable) hold() *held {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now.calls.Add(1) // under the lock: nobody waits for the calls of a driver that can still be held
	return r.now
}

// replace puts d in the driver's place, waits for the calls under way and closes the old one.
// After Close it closes d.
func (r *renewable) replace(d Driver) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return d.Close()
	}
	old := r.now
	r.now = &held{Driver: d}
	r.mu.Unlock()
	old.calls.Wait()
	return old.Close()
}

// Close closes the driver of now.
func (r *renewable) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.now.Close()
}

func on[Q, A any](ctx context.Context, r *renewable, q Q, method func(Driver, context.Context, Q) (A, error)) (A, error) {
	d := r.hold()
	defer d.calls.Done()
	return method(d.Driver, ctx, q)
}

func (r *renewable) Capabilities(ctx context.Context, q *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	return on(ctx, r, q, Driver.Capabilities)
}

func (r *renewable) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	return on(ctx, r, q, Driver.Put)
}

func (r *renewable) Find(ctx context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	return on(ctx, r, q, Driver.Find)
}

func (r *renewable) List(ctx context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	return on(ctx, r, q, Driver.List)
}

func (r *renewable) State(ctx context.Context, q *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	return on(ctx, r, q, Driver.State)
}

func (r *renewable) Remove(ctx context.Context, q *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	return on(ctx, r, q, Driver.Remove)
}
