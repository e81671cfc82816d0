package bench

import (
	"context"
	"errors"
	"time"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

const (
	erpLatency     = 5 * time.Millisecond
	erpConcurrency = 8
	erpTimeout     = 30 * time.Second
)

// slowERPs returns an opener of ledgers whose calls take erpLatency. If dead is set, the neighbour's calls fail after erpTimeout.
func slowERPs(open connector.Opener, dead bool) connector.Opener {
	return func(ctx context.Context, company int64, settings map[string]string) (connector.Driver, error) {
		d, err := open(ctx, company, settings)
		return &slowERP{Driver: d, dead: dead && company == neighbour}, err
	}
}

type slowERP struct {
	connector.Driver
	dead bool
}

// wait takes the time of a call. It returns an error if the ERP is dead.
func (e *slowERP) wait(ctx context.Context) error {
	latency := erpLatency
	if e.dead {
		latency = erpTimeout
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(latency):
	}
	if e.dead {
		return fault.New(fault.Transient, errors.New("the ERP did not respond"))
	}
	return nil
}

func (e *slowERP) Capabilities(ctx context.Context, q *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	a, err := e.Driver.Capabilities(ctx, q)
	if err == nil {
		a.MaxConcurrent = erpConcurrency
	}
	return a, err
}

func (e *slowERP) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	if err := e.wait(ctx); err != nil {
		return nil, err
	}
	return e.Driver.Put(ctx, q)
}

func (e *slowERP) Find(ctx context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	if err := e.wait(ctx); err != nil {
		return nil, err
	}
	return e.Driver.Find(ctx, q)
}

func (e *slowERP) List(ctx context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	if err := e.wait(ctx); err != nil {
		return nil, err
	}
	return e.Driver.List(ctx, q)
}
