package exports

import (
	"cmp"
	"context"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/payload"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
)

// reclaim books a record that was refused because the ERP still has it under its code: the ERP kept the record
// when a reset removed the link. This only concerns records that came from the ERP, because an exported record
// is found by its key.
// If the code is taken by anything else, or the ERP's record is now linked to another record of Procore, the
// refusal is returned.
func reclaim(ctx context.Context, t *worker.Task, d payload.Document, refusal error) (*tiebackv1.Booking, error) {
	origin, err := t.ForgottenLink(ctx, d.ItemType, d.Record.ProcoreId)
	if err != nil || origin == "" {
		return nil, cmp.Or(err, refusal)
	}
	links, err := t.State.Links(ctx, t.Event.CompanyId, d.ItemType)
	if id := links[origin]; err != nil || id != 0 && id != d.Record.ProcoreId {
		return nil, cmp.Or(err, refusal)
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
