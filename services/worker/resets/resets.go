// Package resets resets synced records on behalf of a super user.
//
// Master data (codes, jobs, sub jobs) stays in the ERP, because the events dictionary does not require its removal.
// Its links are removed, and Procore shows it as not synced. Its generation stays the same, so that a later export
// finds the record and changes it in place, and nothing is booked twice. A record that did not come from an export is
// found by what the reset recorded; see worker.Task.ForgottenLink. Only a job's budget stays linked, as long as the
// ERP has it. If a company has the setting "resets: remove", master data is reset like a document.
//
// A document is removed from the ERP, then unsynced, unlinked or deleted in Procore. If only its link were removed,
// the next export would book it twice.
//
//	the ERP                      reset_override    result
//	removed it, or never had it  any               Procore's side is reset
//	keeps it                     no                refused; nothing changes in Procore
//	keeps it                     yes               Procore's side is reset anyway
//
// A refusal becomes a dead letter, which an operator sees, because a reset has no request detail.
package resets

import (
	"context"
	"slices"

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

// Handlers are the handlers of the reset category.
var Handlers = worker.Handlers{
	"delete_standard_cost_codes":        codes(procore.DeleteStandardCostCode),
	"delete_standard_categories":        codes(procore.DeleteLineItemType),
	"delete_cost_code":                  codes(procore.DeleteCostCode),
	"reset_job":                         job,
	"reset_sub_job":                     job,
	"reset_requisition":                 document(unsync),
	"reset_payment":                     document(unlink),
	"reset_prime_contract_change_order": document(unsync),
	"reset_company_level_direct_cost":   document(unsync),
}

// Run runs the reset service.
func Run(ctx context.Context, a *tenant.App) error {
	return worker.Run(ctx, a, catalogue.Reset, Handlers)
}

// document returns a handler that resets documents; report adds the reset of Procore's side to the close-out.
func document(report func(context.Context, *worker.Task, payload.Link, *tiebackv1.CloseOut) error) worker.Handler {
	return func(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
		return each(t, func(link payload.Link) (*tiebackv1.CloseOut, error) {
			if err := remove(ctx, t, link); err != nil {
				return nil, err
			}
			c := done(link)
			return c, report(ctx, t, link, c)
		})
	}
}

// each calls reset for each link of a payload.
func each(t *worker.Task, reset func(payload.Link) (*tiebackv1.CloseOut, error)) ([]*tiebackv1.CloseOut, error) {
	links, err := payload.Reset(t.Row.Name, t.Payload)
	if err != nil {
		return nil, err
	}
	return payload.Each(t.Payload, links, reset)
}

// forget removes the links of a record that the ERP keeps, and of the records in it except the budget.
func forget(ctx context.Context, t *worker.Task, link payload.Link, inside []linked) (*tiebackv1.CloseOut, error) {
	// A budget that the ERP has stays linked. Without the link, a new export would book the totals of its job costs
	// in addition to its transactions, which stay marked as synced.
	inside = slices.DeleteFunc(inside, func(r linked) bool { return r.Type == "budget" && !r.deleted })
	itself := linked{Item: payload.Item{Type: link.ItemTypes[0], ID: link.Record.ProcoreId}, origin: link.Record.OriginId}
	for _, r := range append(inside, itself) {
		if err := t.SaveForgottenLink(ctx, r.Type, r.ID, r.origin); err != nil {
			return nil, err
		}
	}
	c := done(link)
	err := unsync(ctx, t, link, c)
	unsyncAll(inside, c)
	return c, err
}

// remove removes the record from the ERP and starts its next generation, before the reset is reported to
// Procore.
func remove(ctx context.Context, t *worker.Task, link payload.Link) error {
	if err := removeFromERP(ctx, t, link); err != nil {
		return err
	}
	return t.ERP.NextGeneration(ctx, t.Order(), link.Record.Entity, link.Record.ProcoreId)
}

// removeFromERP removes the record, then checks that it is gone, because an ERP that refuses to remove a record may
// not have it any more, and an ERP that accepts may keep it.
func removeFromERP(ctx context.Context, t *worker.Task, link payload.Link) error {
	rec := link.Record
	if rec.OriginId == "" {
		return nil
	}
	refusal := t.ERP.Remove(ctx, t.Order(), rec.Entity, rec.OriginId)
	if refusal != nil && fault.ClassOf(refusal) != fault.Permanent {
		return refusal
	}
	state, err := t.ERP.State(ctx, rec.Entity, rec.OriginId)
	switch {
	case err != nil && fault.ClassOf(err) != fault.Permanent:
		return err
	case link.Override, err == nil && gone(state):
		return nil
	case refusal != nil:
		return refusal
	case err != nil:
		return nil // the ERP removed it and does not report states
	}
	return fault.Permanentf("The %s is still in your ERP system. Delete it there, then reset it again.", connector.Describe(rec))
}

func gone(s tiebackv1.RecordState) bool {
	return s == tiebackv1.RecordState_RECORD_STATE_DELETED || s == tiebackv1.RecordState_RECORD_STATE_UNKNOWN
}

func done(link payload.Link) *tiebackv1.CloseOut {
	return &tiebackv1.CloseOut{RequestDetailId: link.Detail, Status: tiebackv1.Status_STATUS_SUCCESS, Record: connector.Describe(link.Record)}
}

// unsync marks the record and its lines as not synced.
func unsync(_ context.Context, _ *worker.Task, link payload.Link, c *tiebackv1.CloseOut) error {
	c.Marks = append(c.Marks, &tiebackv1.Mark{ItemType: link.ItemTypes[0], ItemId: link.Record.ProcoreId})
	for _, l := range link.Lines {
		c.Marks = append(c.Marks, &tiebackv1.Mark{ItemType: l.Type, ItemId: l.ID})
	}
	return nil
}

// unlink unlinks an invoice payment under the item type that it is linked as.
func unlink(ctx context.Context, t *worker.Task, link payload.Link, c *tiebackv1.CloseOut) error {
	itemType, err := t.LinkedAs(ctx, link)
	c.Unlinks = []*tiebackv1.Unlink{{ItemType: itemType, ItemId: link.Record.ProcoreId}}
	return err
}

// codes returns a handler that resets codes of a list: their links are removed or, with resets: remove, the
// codes are removed from the ERP and then deleted in Procore.
func codes(route procore.Route) worker.Handler {
	return func(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
		if !t.Company.RemoveOnReset {
			return each(t, func(link payload.Link) (*tiebackv1.CloseOut, error) { return forget(ctx, t, link, nil) })
		}
		deletion, err := removal.Begin(ctx, t)
		if err != nil {
			return nil, err
		}
		closeOuts, err := each(t, func(link payload.Link) (*tiebackv1.CloseOut, error) {
			if err := remove(ctx, t, link); err != nil {
				return nil, err
			}
			c := done(link)
			c.Links = []*tiebackv1.Link{{ItemType: link.ItemTypes[0], ItemId: link.Record.ProcoreId}}
			return c, deletion.Delete(ctx, route, link.Record.ProcoreId, link)
		})
		if err != nil {
			return nil, err
		}
		return closeOuts, deletion.End(ctx)
	}
}
