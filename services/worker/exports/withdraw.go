package exports

import (
	"context"
	"slices"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/payload"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
)

// masters are the entities that an ERP can deactivate. A deactivated record keeps its bookings and takes no new
// ones.
var masters = []tiebackv1.Entity{
	tiebackv1.Entity_ENTITY_STANDARD_COST_CODE, tiebackv1.Entity_ENTITY_VENDOR,
	tiebackv1.Entity_ENTITY_JOB, tiebackv1.Entity_ENTITY_SUB_JOB, tiebackv1.Entity_ENTITY_COST_CODE,
}

// withdraw handles a record that is deleted or void in Procore. Such a record is never booked.
//
//	                    not in the ERP    in the ERP
//	deleted             failed            removed, or deactivated if the ERP keeps a master record
//	void, rejected, …   failed            failed: a person voids it there, in the right period
func withdraw(ctx context.Context, t *worker.Task, d payload.Document) (*tiebackv1.CloseOut, error) {
	origin, err := inERP(ctx, t, d)
	switch {
	case err != nil:
		return nil, err
	case origin == "" && d.Deleted:
		err = fault.Permanentf("The %s is deleted in Procore, so it was not exported.", connector.Describe(d.Record))
	case origin == "":
		err = fault.Permanentf("The %s was not exported: its status in Procore is %q.", connector.Describe(d.Record), d.Record.Status)
	case !d.Deleted:
		err = fault.Permanentf("The %s was not exported: its status in Procore is %q. It is still in your ERP system, as %s: void or reverse it there.",
			connector.Describe(d.Record), d.Record.Status, origin)
	default:
		return remove(ctx, t, d, origin)
	}
	return payload.Refused(d.Record, d.Detail, err)
}

// inERP returns the ERP's origin id of a document, or "" if the ERP does not have it.
func inERP(ctx context.Context, t *worker.Task, d payload.Document) (string, error) {
	if d.Record.OriginId != "" {
		return d.Record.OriginId, nil
	}
	origin, err := t.State.OriginID(ctx, t.Event.CompanyId, d.ItemType, d.Record.ProcoreId)
	if err != nil || origin != "" {
		return origin, err
	}
	booking, err := t.ERP.Booked(ctx, d.Record.Entity, d.Record.ProcoreId)
	return booking.GetOriginId(), err
}

// remove removes a deleted record from the ERP, or deactivates it if the ERP keeps it.
func remove(ctx context.Context, t *worker.Task, d payload.Document, origin string) (*tiebackv1.CloseOut, error) {
	name := connector.Describe(d.Record)
	refusal := t.ERP.Remove(ctx, t.Order(), d.Record.Entity, origin)
	switch {
	case refusal == nil:
		if err := t.ERP.NextGeneration(ctx, t.Order(), d.Record.Entity, d.Record.ProcoreId); err != nil {
			return nil, err
		}
		c := withdrawn(d, "The "+name+" is deleted in Procore, so it was removed from your ERP system.")
		c.Links = []*tiebackv1.Link{{ItemType: d.ItemType, ItemId: d.Record.ProcoreId}}
		return c, nil
	case fault.ClassOf(refusal) != fault.Permanent:
		return nil, refusal
	case !slices.Contains(masters, d.Record.Entity):
		return payload.Refused(d.Record, d.Detail, fault.Permanentf("The %s is deleted in Procore but is still in your ERP system, as %s. %s", name, origin, fault.UserMessage(refusal, "")))
	}
	d.Record.OriginId, d.Record.Inactive, d.Refusal = origin, true, nil
	if _, err := send(ctx, t, d); err != nil {
		return payload.Refused(d.Record, d.Detail, err)
	}
	return withdrawn(d, "The "+name+" is deleted in Procore. Your ERP system keeps it, so it was deactivated there."), nil
}

func withdrawn(d payload.Document, message string) *tiebackv1.CloseOut {
	return &tiebackv1.CloseOut{
		RequestDetailId: d.Detail, Status: tiebackv1.Status_STATUS_SUCCESS, Messages: []string{message}, Record: connector.Describe(d.Record),
	}
}
