package connector

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// fresh is how long an ERP's capabilities are believed. They change when a connector is
// upgraded, not from call to call.
const fresh = time.Minute

// capabilities are the last that the driver told, or how it failed to. One caller asks; while
// it does, the others go by what was told before, or wait for the first answer and share it,
// a failure too: or each would wait for a dead ERP after the other.
type capabilities struct {
	lock chan struct{} // holds one while somebody asks
	last atomic.Pointer[answer]
}

type answer struct {
	told *tiebackv1.CapabilitiesResponse
	err  error // told is nil
	next time.Time
}

// Capabilities says what the ERP has and can do; it is asked once a minute. The answer is
// shared: leave it as it is.
func (e *ERP) Capabilities(ctx context.Context) (*tiebackv1.CapabilitiesResponse, error) {
	if a := e.caps.last.Load(); a != nil && time.Now().Before(a.next) {
		return a.told, a.err
	}
	select {
	case e.caps.lock <- struct{}{}:
		defer func() { <-e.caps.lock }()
	default:
		if a := e.caps.last.Load(); a != nil && a.told != nil {
			return a.told, nil
		}
		select {
		case e.caps.lock <- struct{}{}:
			defer func() { <-e.caps.lock }()
		case <-ctx.Done():
			return nil, fault.New(fault.Transient, ctx.Err())
		}
	}
	if a := e.caps.last.Load(); a != nil && time.Now().Before(a.next) {
		return a.told, a.err
	}
	return e.ask(ctx)
}

// ask asks the driver. What it told before still counts if it fails: the call that follows
// will see what is wrong.
func (e *ERP) ask(ctx context.Context) (*tiebackv1.CapabilitiesResponse, error) {
	told, err := call(ctx, e, "capabilities", asks, &tiebackv1.CapabilitiesRequest{CompanyId: e.Company}, e.driver.Capabilities)
	old := e.caps.last.Load()
	switch {
	case err == nil:
		if e.slots == nil {
			e.slots = newSlots(slotsOf(told.MaxConcurrent))
		}
		e.caps.last.Store(&answer{told: told, next: time.Now().Add(fresh)})
	case ctx.Err() != nil: // it only means that this caller went away
	case old != nil && old.told != nil:
		e.caps.last.Store(&answer{told: old.told, next: time.Now().Add(fresh)})
		return old.told, nil
	default:
		e.caps.last.Store(&answer{err: err, next: time.Now().Add(time.Second)})
	}
	return told, err
}

func slotsOf(most int32) int {
	if most <= 0 {
		return unlimited
	}
	return int(most)
}

// can gives the ERP's name and what it can do with an entity, nothing if it does not have it.
func (e *ERP) can(ctx context.Context, entity tiebackv1.Entity) (string, *tiebackv1.EntityCapability, error) {
	told, err := e.Capabilities(ctx)
	if err != nil {
		return "", nil, err
	}
	name := cmp.Or(fault.Name(told.Name), "Your ERP system")
	for _, c := range told.Entities {
		if c.Entity == entity {
			return name, c, nil
		}
	}
	return name, nil, nil
}

// takes refuses a new record that the ERP does not take.
func (e *ERP) takes(ctx context.Context, r *tiebackv1.Record) error {
	erp, can, err := e.can(ctx, r.Entity)
	if err == nil && !can.GetPut() {
		err = fault.Permanentf("%s takes no %s from Procore, so %s was not exported. Enter it in %s by hand.", erp, Plural(r.Entity), Describe(r), erp)
	}
	return err
}

// changes refuses to change a record that the ERP does not let us change.
func (e *ERP) changes(ctx context.Context, r *tiebackv1.Record) error {
	erp, can, err := e.can(ctx, r.Entity)
	if err == nil && !can.GetUpdate() {
		err = fault.Refused("origin_id", "The %s is in %s already, as %s, and an export can't change it there. "+
			"Change it in %s, or reset it in Procore and export it again.", Describe(r), erp, r.OriginId, erp)
	}
	return err
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
