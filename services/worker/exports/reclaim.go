package exports

import (
	"context"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/payload"
)

// reclaim books a record whose code is taken by itself: a reset forgot its link, and the ERP kept it. Only what
// came from the ERP gets here, as a record that was exported is found by its key. Where that is not so, or another
// record of Procore has it now, the refusal stands.
func reclaim(ctx context.Context, t *worker.Task, d payload.Document, refusal error) (*tiebackv1.Booking, error) {
	origin, err := t.ForgottenLink(ctx, d.ItemType, d.Record.ProcoreId)
	if err != nil || origin == "" {
		return nil, otherwise(err, refusal)
	}
	links, err := t.State.Links(ctx, t.Event.CompanyId, d.ItemType)
	if id := links[origin]; err != nil || id != 0 && id != d.Record.ProcoreId {
		return nil, otherwise(err, refusal)
	}
	state, err := t.ERP.State(ctx, d.Record.Entity, origin)
	if err != nil && fault.ClassOf(err) != fault.Permanent {
		return nil, err
	}
	if state != tiebackv1.RecordState_RECORD_STATE_PRESENT {
		return nil, refusal
	}
	d.Record.OriginId = origin
	b, err := t.Book(ctx, d.Record)
	if err != nil {
		d.Record.OriginId = ""
	}
	return b, err
}

func otherwise(err, refusal error) error {
	if err != nil {
		return err
	}
	return refusal
}
