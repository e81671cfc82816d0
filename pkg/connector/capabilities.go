package connector

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// capabilitiesTTL is how long capabilities are cached. They change when a connector is upgraded, not from
// call to call.
const capabilitiesTTL = time.Minute

// capabilities caches the driver's last answer, or its error. One caller at a time asks the driver. In the
// meantime the others use the previous answer, or wait for the first answer and share it. They also share an
// error, so that they don't wait for an unreachable ERP one after the other.
type capabilities struct {
	lock chan struct{} // a mutex whose Lock can be canceled
	last atomic.Pointer[answer]
}

type answer struct {
	caps *tiebackv1.CapabilitiesResponse
	err  error     // caps is nil
	next time.Time // when to ask again
}

// Capabilities returns what the ERP has and can do. It asks the driver once a minute. Callers must not change
// the result.
func (e *ERP) Capabilities(ctx context.Context) (*tiebackv1.CapabilitiesResponse, error) {
	if a := e.caps.last.Load(); a != nil && time.Now().Before(a.next) {
		return a.caps, a.err
	}
	select {
	case e.caps.lock <- struct{}{}:
		defer func() { <-e.caps.lock }()
	default:
		if a := e.caps.last.Load(); a != nil && a.caps != nil {
			return a.caps, nil
		}
		select {
		case e.caps.lock <- struct{}{}:
			defer func() { <-e.caps.lock }()
		case <-ctx.Done():
			return nil, fault.New(fault.Transient, ctx.Err())
		}
	}
	if a := e.caps.last.Load(); a != nil && time.Now().Before(a.next) {
		return a.caps, a.err
	}
	return e.refreshCapabilities(ctx)
}

// refreshCapabilities asks the driver. If it fails, the previous answer stays in use, because the call that
// follows will show the error.
func (e *ERP) refreshCapabilities(ctx context.Context) (*tiebackv1.CapabilitiesResponse, error) {
	caps, err := call(ctx, e, "capabilities", capabilitiesCall, &tiebackv1.CapabilitiesRequest{CompanyId: e.Company}, e.driver.Capabilities)
	old := e.caps.last.Load()
	switch {
	case err == nil:
		if e.calls == nil {
			e.calls = newSemaphore(limitOf(caps.MaxConcurrent))
		}
		e.caps.last.Store(&answer{caps: caps, next: time.Now().Add(capabilitiesTTL)})
	case ctx.Err() != nil: // only this caller has canceled
	case old != nil && old.caps != nil:
		e.caps.last.Store(&answer{caps: old.caps, next: time.Now().Add(capabilitiesTTL)})
		return old.caps, nil
	default:
		e.caps.last.Store(&answer{err: err, next: time.Now().Add(time.Second)})
	}
	return caps, err
}

func limitOf(maxConcurrent int32) int {
	if maxConcurrent <= 0 {
		return unlimited
	}
	return int(maxConcurrent)
}

// can returns the ERP's name and its capabilities for an entity, or nil capabilities if the ERP does not have
// the entity.
func (e *ERP) can(ctx context.Context, entity tiebackv1.Entity) (string, *tiebackv1.EntityCapability, error) {
	caps, err := e.Capabilities(ctx)
	if err != nil {
		return "", nil, err
	}
	name := cmp.Or(fault.Name(caps.Name), "Your ERP system")
	for _, c := range caps.Entities {
		if c.Entity == entity {
			return name, c, nil
		}
	}
	return name, nil, nil
}

// checkPut refuses a new record that the ERP does not take.
func (e *ERP) checkPut(ctx context.Context, r *tiebackv1.Record) error {
	erp, can, err := e.can(ctx, r.Entity)
	if err == nil && !can.GetPut() {
		err = fault.Permanentf("%s takes no %s from Procore, so %s was not exported. Enter it in %s by hand.", erp, Plural(r.Entity), Describe(r), erp)
	}
	return err
}

// checkUpdate refuses to change a record that the ERP does not allow to be changed.
func (e *ERP) checkUpdate(ctx context.Context, r *tiebackv1.Record) error {
	erp, can, err := e.can(ctx, r.Entity)
	if err == nil && !can.GetUpdate() {
		err = fault.Refused("origin_id", "The %s is already in %s, as %s, and an export can't change it there. "+
			"Change it in %s, or reset it in Procore and export it again.", Describe(r), erp, r.OriginId, erp)
	}
	return err
}

func (e *ERP) checkList(ctx context.Context, entity tiebackv1.Entity) error {
	erp, can, err := e.can(ctx, entity)
	if err == nil && !can.GetList() {
		err = fault.Permanentf("%s does not list its %s for Procore, so they can't be synced.", erp, Plural(entity))
	}
	return err
}

func (e *ERP) checkState(ctx context.Context, entity tiebackv1.Entity) error {
	erp, can, err := e.can(ctx, entity)
	if err == nil && !can.GetState() {
		err = fault.Permanentf("%s does not report whether it still has a %s, so it was left unchanged. Ask the administrator of your ERP integration to unlink it.", erp, Noun(entity))
	}
	return err
}

func (e *ERP) checkRemove(ctx context.Context, entity tiebackv1.Entity) error {
	erp, can, err := e.can(ctx, entity)
	if err == nil && !can.GetRemove() {
		err = fault.Permanentf("%s does not let Tieback delete a %s. Delete it there, then reset it again.", erp, Noun(entity))
	}
	return err
}
