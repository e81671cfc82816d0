package exports

import (
	"context"
	"errors"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/payload"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
)

// references fills in the origin ids of records that a document names only by Procore's id. Procore's payload
// has no origin id for a record that was exported a moment ago, because the mark is written after the
// booking.
//
//	a link exists                          its origin id, as last reported to Procore
//	no link, but the ERP has the booking   the origin id of the booking; its link is stored later, or never if
//	                                       Procore refused the mark
//	neither, and the event is recent       the event is retried, because the record may be booked soon
//	neither                                refused with a message, or left empty if the reference is optional
//
// The lines of a contract have no keys of their own in the ERP. If the contract is booked but not yet
// reported to Procore, a document that refers to its lines is retried until they are linked.
type references struct {
	*worker.Task
	booked map[record]string // origin ids that the ERP returned; "": not booked
	open   bool              // a reference has no origin id
}

// record identifies a record that the ERP is asked for, by Procore's id.
type record struct {
	entity tiebackv1.Entity
	id     int64
}

// bookedAs maps item types to the entities that exports book under Procore's id.
var bookedAs = map[string]tiebackv1.Entity{
	"standard_cost_code":      tiebackv1.Entity_ENTITY_STANDARD_COST_CODE,
	"vendor":                  tiebackv1.Entity_ENTITY_VENDOR,
	"project":                 tiebackv1.Entity_ENTITY_JOB,
	"sub_job":                 tiebackv1.Entity_ENTITY_SUB_JOB,
	"cost_code":               tiebackv1.Entity_ENTITY_COST_CODE,
	"work_order_contract":     tiebackv1.Entity_ENTITY_COMMITMENT,
	"purchase_order_contract": tiebackv1.Entity_ENTITY_COMMITMENT,
	"requisition":             tiebackv1.Entity_ENTITY_REQUISITION,
}

const contractLine = "line_item"

func newReferences(t *worker.Task) *references {
	return &references{Task: t, booked: map[record]string{}}
}

// document fills in the references of a document.
func (r *references) document(ctx context.Context, d payload.Document) error {
	bookedContract, openLines := false, false // a contract that is booked but not linked; lines without an origin id
	for _, ref := range d.Refs {
		linked, err := r.fill(ctx, ref)
		if err != nil {
			return err
		}
		bookedContract = bookedContract || !linked && ref.Field == &d.Record.ContractOriginId && *ref.Field != ""
		openLines = openLines || *ref.Field == "" && ref.ItemTypes[0] == contractLine
	}
	if bookedContract && openLines {
		return &fault.Error{
			Class: fault.Transient, Err: errors.New("the contract is booked, and its lines are not linked yet"),
			UserMessage: "The contract is in your ERP system, but Procore does not show it as synced yet. If this does not change, export the contract again.",
		}
	}
	return nil
}

// fill fills in one reference and reports whether a link was found.
func (r *references) fill(ctx context.Context, ref payload.Ref) (linked bool, err error) {
	for _, itemType := range ref.ItemTypes {
		origin, err := r.State.OriginID(ctx, r.Event.CompanyId, itemType, ref.ItemID)
		if err != nil {
			return false, err
		}
		if origin != "" {
			*ref.Field = origin
			return true, nil
		}
	}
	if entity := bookedAs[ref.ItemTypes[0]]; entity != 0 {
		if *ref.Field, err = r.lookUp(ctx, record{entity, ref.ItemID}); err != nil || *ref.Field != "" {
			return false, err
		}
	}
	r.open = true
	if ref.Missing != "" {
		return false, fault.Permanentf("%s", ref.Missing)
	}
	return false, nil
}

// lookUp asks the ERP for the origin id of a record, once per record.
func (r *references) lookUp(ctx context.Context, rec record) (string, error) {
	if origin, known := r.booked[rec]; known {
		return origin, nil
	}
	booking, err := r.ERP.Booked(ctx, rec.entity, rec.id)
	if err == nil {
		r.booked[rec] = booking.GetOriginId()
	}
	return booking.GetOriginId(), err
}

// transientIfOpen turns a refusal into a transient error if the cause may be a referenced record that is not
// booked yet.
func (r *references) transientIfOpen(err error) error {
	if !r.Fresh || !r.open || fault.ClassOf(err) != fault.Permanent {
		return err
	}
	return &fault.Error{Class: fault.Transient, Source: fault.SourceOf(err), UserMessage: fault.UserMessage(err, ""), Err: err}
}
