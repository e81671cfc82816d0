// Package resets undoes a synced record for a super user.
//
// Master data (codes, jobs, sub jobs), for which the events dictionary asks for nothing, stays in the ERP: its
// links are forgotten, and Procore shows it as not synced. Its life goes on: an export after the reset finds the
// record and changes it in place, so that nothing is booked twice. What did not come from an export is found by
// the note that the reset leaves. Only a job's budget stays linked, as long as the ERP has it. A company may choose resets: remove; then master data is reset as documents are.
//
// A document is taken out of the ERP's books, then unsynced, unlinked or deleted in Procore: forgotten it would be
// booked twice.
//
//	the ERP                      reset_override    what happens
//	removed it, or had it not    any               Procore's side is reset
//	keeps it                     no                refused; nothing changes in Procore
//	keeps it                     yes               Procore's side is reset all the same
//
// Resets carry no request detail: a refusal becomes a dead letter, where an operator sees it.
package resets

import (
	"context"
	"slices"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/payload"
	"github.com/tieback/tieback/services/worker/removal"
)

// Handlers are the reset category's.
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

// document resets a document; tell says how Procore hears of it.
func document(tell func(context.Context, *worker.Task, payload.Link, *tiebackv1.CloseOut) error) worker.Handler {
	return func(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
		return each(t, func(link payload.Link) (*tiebackv1.CloseOut, error) {
			if err := undo(ctx, t, link); err != nil {
				return nil, err
			}
			c := done(link)
			return c, tell(ctx, t, link, c)
		})
	}
}

// each works the links of a payload.
func each(t *worker.Task, work func(payload.Link) (*tiebackv1.CloseOut, error)) ([]*tiebackv1.CloseOut, error) {
	links, err := payload.Reset(t.Row.Name, t.Payload)
	if err != nil {
		return nil, err
	}
	return payload.Each(t.Payload, links, work)
}

// forget forgets the links of a record that the ERP keeps, and of what is in it but its budget.
func forget(ctx context.Context, t *worker.Task, link payload.Link, inside []linked) (*tiebackv1.CloseOut, error) {
	// A budget in the ERP stays linked: its transactions stay marked, so an export that starts
	// over would book the total of its job costs beside them.
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

// undo takes the record out of the ERP and ends its life there, before Procore is told.
func undo(ctx context.Context, t *worker.Task, link payload.Link) error {
	if err := takeOut(ctx, t, link); err != nil {
		return err
	}
	return t.ERP.NextGeneration(ctx, t.Order(), link.Record.Entity, link.Record.ProcoreId)
}

// takeOut removes the record, then looks whether it is gone: an ERP that refuses to remove
// may have lost it already, and one that agrees may keep it.
func takeOut(ctx context.Context, t *worker.Task, link payload.Link) error {
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
		return nil // the ERP removed it and does not tell states
	}
	return fault.Permanentf("The %s is still in your ERP system. Please delete it there, then reset it again.", connector.Describe(rec))
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

// unlink unlinks an invoice payment, as what it is linked as.
func unlink(ctx context.Context, t *worker.Task, link payload.Link, c *tiebackv1.CloseOut) error {
	itemType, err := t.LinkedAs(ctx, link)
	c.Unlinks = []*tiebackv1.Unlink{{ItemType: itemType, ItemId: link.Record.ProcoreId}}
	return err
}

// codes resets codes of a list: their links are forgotten, or they are taken out of the ERP, then deleted in Procore.
func codes(route procore.Route) worker.Handler {
	return func(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
		if !t.Company.RemoveOnReset {
			return each(t, func(link payload.Link) (*tiebackv1.CloseOut, error) { return forget(ctx, t, link, nil) })
		}
		run, err := removal.Begin(ctx, t)
		if err != nil {
			return nil, err
		}
		closeOuts, err := each(t, func(link payload.Link) (*tiebackv1.CloseOut, error) {
			if err := undo(ctx, t, link); err != nil {
				return nil, err
			}
			c := done(link)
			c.Links = []*tiebackv1.Link{{ItemType: link.ItemTypes[0], ItemId: link.Record.ProcoreId}}
			return c, run.Delete(ctx, route, link.Record.ProcoreId, link)
		})
		if err != nil {
			return nil, err
		}
		return closeOuts, run.End(ctx)
	}
}
