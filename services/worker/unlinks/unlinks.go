// Package unlinks removes the link between a record of Procore and one of the ERP.
//
//	the ERP still has the record   failed: the user deletes it in the ERP first
//	deleted, or never there        the record's next generation starts; then Procore unlinks the record through status
//	                               management, and its lines through external data
//
// Procore has already unlinked a vendor or standard cost code when the event arrives, so only our link is removed. The two types
// that begin with delete_ delete the records in Procore instead.
//
// The next generation (see connector.ERP.NextGeneration) must be stored before Procore unlinks the record. Then an export after the unlink makes a new booking, and an older
// one that is still under way is refused.
package unlinks

import (
	"context"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/payload"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/removal"
)

// Handlers are the handlers of the unlink category.
var Handlers = worker.Handlers{
	"unlink_standard_cost_codes":         unlinkAlways,
	"unlink_vendor":                      unlinkAlways,
	"delete_cost_codes":                  remove,
	"delete_cost_type_assignments":       remove,
	"unlink_commitment":                  unlink,
	"unlink_commitment_change_order":     unlink,
	"unlink_payment_application":         unlink,
	"unlink_prime_contract_change_order": unlink,
	"unlink_company_level_direct_cost":   unlink,
}

// Run runs the unlink service.
func Run(ctx context.Context, a *tenant.App) error {
	return worker.Run(ctx, a, catalogue.Unlink, Handlers)
}

// unlinkAlways removes the link of a record that Procore has unlinked, whether or not the ERP still has the
// record. A vendor or standard cost code may stay in use in the ERP. unlinkAlways makes no call to
// Procore.
func unlinkAlways(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	return each(t, func(link payload.Link) (*tiebackv1.CloseOut, error) {
		if err := t.ERP.NextGeneration(ctx, t.Order(), link.Record.Entity, link.Record.ProcoreId); err != nil {
			return nil, err
		}
		c := done(link, "Successfully unlinked")
		c.Links = []*tiebackv1.Link{{ItemType: link.ItemTypes[0], ItemId: link.Record.ProcoreId}} // a link without an origin id removes the link
		return c, nil
	})
}

// unlink unlinks records that no longer exist in the ERP.
func unlink(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	return each(t, func(link payload.Link) (*tiebackv1.CloseOut, error) {
		if err := requireGone(ctx, t, link); err != nil {
			return nil, err
		}
		return unlinkRecord(ctx, t, link)
	})
}

// each calls unlink for each link of a payload.
func each(t *worker.Task, unlink func(payload.Link) (*tiebackv1.CloseOut, error)) ([]*tiebackv1.CloseOut, error) {
	links, err := payload.Unlinked(t.Row.Name, t.Payload)
	if err != nil {
		return nil, err
	}
	return payload.Each(t.Payload, links, unlink)
}

// requireGone returns a refusal if the ERP still has the record.
func requireGone(ctx context.Context, t *worker.Task, link payload.Link) error {
	state, err := t.ERP.State(ctx, link.Record.Entity, link.Record.OriginId)
	if err != nil {
		return err
	}
	switch state {
	case tiebackv1.RecordState_RECORD_STATE_DELETED, tiebackv1.RecordState_RECORD_STATE_UNKNOWN:
		return nil
	}
	return fault.Permanentf("The %s is still in your ERP system. Delete it there, then retry.", connector.Describe(link.Record))
}

func unlinkRecord(ctx context.Context, t *worker.Task, link payload.Link) (*tiebackv1.CloseOut, error) {
	itemType, err := t.LinkedAs(ctx, link)
	if err != nil {
		return nil, err
	}
	if err := t.ERP.NextGeneration(ctx, t.Order(), link.Record.Entity, link.Record.ProcoreId); err != nil {
		return nil, err
	}
	c := done(link, "Successfully unlinked")
	c.Unlinks = []*tiebackv1.Unlink{{ItemType: itemType, ItemId: link.Record.ProcoreId}}
	for _, l := range link.Lines {
		c.Marks = append(c.Marks, &tiebackv1.Mark{ItemType: l.Type, ItemId: l.ID})
	}
	return c, nil
}

func done(link payload.Link, message string) *tiebackv1.CloseOut {
	return &tiebackv1.CloseOut{
		RequestDetailId: link.Detail, Status: tiebackv1.Status_STATUS_SUCCESS, Messages: []string{message}, Record: connector.Describe(link.Record),
	}
}

// remove deletes in Procore what is gone from the ERP: cost codes, and cost type assignments with their job
// costs.
func remove(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	deletion, err := removal.Begin(ctx, t)
	if err != nil {
		return nil, err
	}
	closeOuts, err := each(t, func(link payload.Link) (*tiebackv1.CloseOut, error) {
		if err := requireGone(ctx, t, link); err != nil {
			return nil, err
		}
		return deleteInProcore(ctx, t, deletion, link)
	})
	if err != nil {
		return nil, err
	}
	return closeOuts, deletion.End(ctx)
}

func deleteInProcore(ctx context.Context, t *worker.Task, deletion *removal.Deletion, link payload.Link) (*tiebackv1.CloseOut, error) {
	c := done(link, "Successfully deleted")
	rec, key, route := link.Record, link.Record.ProcoreId, procore.DeleteCostCode
	if rec.Entity == tiebackv1.Entity_ENTITY_COST_TYPE_ASSIGNMENT {
		key, route = payload.AssignmentKey(rec.CostCodeOriginId, rec.CategoryOriginId), procore.DeleteAssignment
	} else {
		c.Links = []*tiebackv1.Link{{ItemType: "cost_code", ItemId: rec.ProcoreId}}
	}
	if err := t.ERP.NextGeneration(ctx, t.Order(), rec.Entity, key); err != nil {
		return nil, err
	}
	if err := deletion.Delete(ctx, route, rec.ProcoreId, link); err != nil {
		return nil, err
	}
	return c, deletion.Delete(ctx, procore.DeleteJobCost, link.JobCost, link)
}
