package connector

import (
	"cmp"
	"context"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// fresh is how long an ERP's capabilities are believed. They change when a connector is
// upgraded, not from call to call.
const fresh = time.Minute

// capabilities are the last that the driver told. The lock is held while it is asked, so
// that it is asked once; those who waited share the answer, a failure too, or each would
// wait for a dead ERP after the other.
type capabilities struct {
	lock   chan struct{} // holds one while somebody asks
	told   *tiebackv1.CapabilitiesResponse
	at     time.Time
	failed error
	since  time.Time // of failed
}

// Capabilities says what the ERP has and can do; it is asked once a minute. The answer is
// shared: leave it as it is.
func (e *ERP) Capabilities(ctx context.Context) (*tiebackv1.CapabilitiesResponse, error) {
	c := &e.caps
	select {
	case c.lock <- struct{}{}:
		defer func() { <-c.lock }()
	case <-ctx.Done():
		return nil, fault.New(fault.Transient, ctx.Err())
	}
	if c.told != nil && time.Since(c.at) < fresh {
		return c.told, nil
	}
	if c.told == nil && c.failed != nil && time.Since(c.since) < time.Second {
		return nil, c.failed
	}
	told, err := call(ctx, e, "capabilities", asks, &tiebackv1.CapabilitiesRequest{CompanyId: e.Company}, e.driver.Capabilities)
	switch {
	case err == nil:
		c.told, c.at = told, time.Now()
	case c.told == nil:
		if ctx.Err() == nil { // else it only means that this caller went away
			c.failed, c.since = err, time.Now()
		}
		return nil, err
	} // else what it told before still counts: the call that asks will see what is wrong
	if e.slots == nil {
		e.slots = semaphore.NewWeighted(int64(cmp.Or(c.told.MaxConcurrent, unlimited)))
	}
	return c.told, nil
}

// can gives the ERP's name and what it can do with an entity, nothing if it does not have it.
func (e *ERP) can(ctx context.Context, entity tiebackv1.Entity) (string, *tiebackv1.EntityCapability, error) {
	told, err := e.Capabilities(ctx)
	if err != nil {
		return "", nil, err
	}
	name := cmp.Or(told.Name, "Your ERP system")
	for _, c := range told.Entities {
		if c.Entity == entity {
			return name, c, nil
		}
	}
	return name, nil, nil
}

// takes refuses a record that the ERP does not take.
func (e *ERP) takes(ctx context.Context, r *tiebackv1.Record) error {
	erp, can, err := e.can(ctx, r.Entity)
	switch {
	case err != nil:
		return err
	case r.OriginId == "" && !can.GetPut():
		return fault.Permanentf("%s takes no %s from Procore, so %s was not exported. Enter it in %s by hand.", erp, Plural(r.Entity), Describe(r), erp)
	case r.OriginId != "" && !can.GetUpdate():
		return fault.Refused("origin_id", "The %s is in %s already, as %s, and an export can't change it there. "+
			"Change it in %s, or reset it in Procore and export it again.", Describe(r), erp, r.OriginId, erp)
	}
	return nil
}

func (e *ERP) lists(ctx context.Context, entity tiebackv1.Entity) error {
	erp, can, err := e.can(ctx, entity)
	if err == nil && !can.GetList() {
		err = fault.Permanentf("%s does not list its %s for Procore, so they can't be synced.", erp, Plural(entity))
	}
	return err
}

func (e *ERP) tells(ctx context.Context, entity tiebackv1.Entity) error {
	erp, can, err := e.can(ctx, entity)
	if err == nil && !can.GetState() {
		err = fault.Permanentf("%s does not tell whether it still has a %s, so it was left as it is. Ask whoever runs your ERP integration to unlink it.", erp, Noun(entity))
	}
	return err
}

func (e *ERP) removes(ctx context.Context, entity tiebackv1.Entity) error {
	erp, can, err := e.can(ctx, entity)
	if err == nil && !can.GetRemove() {
		err = fault.Permanentf("%s does not let Tieback delete a %s. Please delete it there, then reset it again.", erp, Noun(entity))
	}
	return err
}
