package syncs

import (
	"context"
	"fmt"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/bulk"
)

// payments is one sync of the payments of synced invoices. Payments of other invoices, which may be most of
// an ERP's, are skipped. Once their invoice is synced, the function missing selects these payments, and the
// next sync writes them.
type payments struct {
	task     *worker.Task
	invoices map[string]int64 // requisitions, by origin id
	known    map[string]int64 // invoice payments, by origin id
	report   *bulk.Report
	skipped  int
}

func syncContractPayments(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	invoices, err := t.State.Links(ctx, t.Event.CompanyId, "requisition")
	if err != nil {
		return nil, err
	}
	known, err := t.State.Links(ctx, t.Event.CompanyId, "invoice_payment")
	if err != nil {
		return nil, err
	}
	p := &payments{task: t, invoices: invoices, known: known, report: &bulk.Report{Noun: connector.Plural(payment)}}
	if err := (feed{entity: payment, missing: p.missing, write: p.write}).run(ctx, t); err != nil {
		return nil, err
	}
	out := p.report.CloseOuts(t)
	if p.skipped > 0 {
		last := out[len(out)-1]
		last.Messages = append(last.Messages, fmt.Sprintf("Skipped because their invoices are not synced with Procore: %d.", p.skipped))
	}
	return out, nil
}

func (p *payments) missing(r *tiebackv1.Record) bool {
	return p.invoices[r.ParentOriginId] != 0 && p.known[r.OriginId] == 0 && r.ProcoreId == 0
}

// write writes the payments of a batch. A payment that came from Procore is not written back, because in
// Procore it is the contract payment that the user exported.
func (p *payments) write(ctx context.Context, b batch) (map[string]bool, error) {
	var items []bulk.Item
	for _, c := range b.changes {
		r := c.Record
		switch invoice := p.invoices[r.ParentOriginId]; {
		case c.Deleted || r.ProcoreId != 0:
		case invoice == 0:
			p.skipped++
		default:
			items = append(items, bulk.Item{Record: r, Update: bulk.Fields(
				"id", p.known[r.OriginId], "invoice_type", "Billings::Requisition", "invoice_id", invoice,
				"origin_id", r.OriginId, "origin_code", r.Code, "origin_data", r.OriginData,
				"amount", r.Amount, "date", r.Date, "check_number", r.Number, "notes", r.Description)})
		}
	}
	answer, err := bulk.Write(ctx, p.task.Procore, procore.SyncCall{Route: procore.SyncInvoicePayments}, items)
	if err != nil {
		return nil, err
	}
	p.report.Updated += len(items) - len(answer.Refused)
	p.report.Refused = append(p.report.Refused, answer.Refused...)
	p.report.Links = append(p.report.Links, answer.Links("invoice_payment", p.known)...)
	retry := map[string]bool{}
	addRetries(retry, answer.Refused, items)
	return retry, nil
}
