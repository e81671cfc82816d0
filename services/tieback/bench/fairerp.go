package bench

import (
	"context"
	"errors"
	"time"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// slowERPs are embedded ledgers that take a moment for each call, and no more than a few at
// once. The neighbour's may be dead: its calls hang until they time out.
func slowERPs(open connector.Opener, dead bool) connector.Opener {
	return func(ctx context.Context, company int64, settings map[string]string) (connector.Driver, error) {
		d, err := open(ctx, company, settings)
		return &slowERP{Driver: d, hang: dead && company == neighbour}, err
	}
}

type slowERP struct {
	connector.Driver
	hang bool
}

// wait is what a call takes; an error where nobody answers.
func (e *slowERP) wait(ctx context.Context) error {
	takes := erpTakes
	if e.hang {
		takes = erpHangs
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(takes):
	}
	if e.hang {
		return fault.New(fault.Transient, errors.New("no answer"))
	}
	return nil
}

func (e *slowERP) Capabilities(ctx context.Context, q *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	a, err := e.Driver.Capabilities(ctx, q)
	if err == nil {
		a.MaxConcurrent = erpBears
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
