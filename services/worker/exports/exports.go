// Package exports books the records that an accounting approver accepted: payload → canonical record → ERP →
// marks that show the record as synced in Procore.
//
// The ERP's answer decides what happens to a record:
//
//	booked                  it gets its marks; its request detail succeeds
//	refused, with a reason  its request detail fails with the reason; no dead letter
//	anything else           an error; the event is redelivered and books nothing twice
//
// A refused record does not affect the marks of the other records; see payload.Settle.
package exports

import (
	"context"
	"strings"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/payload"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
)

// Handlers are the handlers of the export category.
var Handlers = worker.Handlers{
	"create_standard_cost_codes":         standardCostCodes,
	"create_vendor":                      documents(payload.Vendor),
	"create_or_update_job":               tree(payload.Job),
	"create_sub_job":                     tree(payload.SubJob),
	"create_budget":                      budget,
	"update_budget":                      budget,
	"create_requisitions":                documents(payload.Requisitions),
	"create_payment":                     documents(payload.ContractPayment),
	"create_commitment":                  documents(payload.Commitment),
	"create_commitment_change_order":     documents(payload.CommitmentChangeOrder),
	"create_payment_application":         documents(payload.PaymentApplication),
	"create_prime_contract_change_order": documents(payload.PrimeContractChangeOrder),
	"create_company_level_direct_cost":   documents(payload.DirectCost),
}

// Run runs the export service.
func Run(ctx context.Context, a *tenant.App) error {
	return worker.Run(ctx, a, catalogue.Export, Handlers)
}

// documents returns a handler that books each document of a payload.
func documents(read func(payload.Request) ([]payload.Document, error)) worker.Handler {
	return func(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
		docs, err := read(t.Payload)
		if err != nil {
			return nil, err
		}
		var closeOuts []*tiebackv1.CloseOut
		for _, d := range docs {
			c, _, err := book(ctx, t, d)
			if err != nil {
				return nil, err
			}
			closeOuts = append(closeOuts, c)
		}
		return payload.Settle(t.Payload, closeOuts), nil
	}
}

// book books a document. A refusal is returned as a failed close-out without a booking.
func book(ctx context.Context, t *worker.Task, d payload.Document) (*tiebackv1.CloseOut, *tiebackv1.Booking, error) {
	if d.Deleted || d.Void {
		c, err := withdraw(ctx, t, d)
		return c, nil, err
	}
	booking, err := send(ctx, t, d)
	if err != nil {
		c, err := payload.Refused(d.Record, d.Detail, aboutCode(err))
		return c, nil, err
	}
	return closeOutOf(d, booking), booking, nil
}

func send(ctx context.Context, t *worker.Task, d payload.Document) (*tiebackv1.Booking, error) {
	if d.Refusal != nil {
		return nil, d.Refusal
	}
	refs := newReferences(t)
	err := refs.document(ctx, d)
	var b *tiebackv1.Booking
	if err == nil {
		b, err = t.Book(ctx, d.Record)
	}
	if fault.ClassOf(err) == fault.Permanent && fault.Field(err) == "code" && d.Record.OriginId == "" {
		b, err = reclaim(ctx, t, d, err)
	}
	if err != nil {
		return nil, refs.transientIfOpen(err)
	}
	return b, nil
}

// aboutCode makes sure that the message of a refused code contains the word "code". Only then does Procore
// let the user export again with another code.
func aboutCode(err error) error {
	message := fault.UserMessage(err, "")
	if fault.Field(err) != "code" || fault.ClassOf(err) != fault.Permanent || strings.Contains(message, "code") {
		return err
	}
	return &fault.Error{Class: fault.Permanent, Field: "code", Err: err, UserMessage: strings.TrimSpace("The code was refused. " + message)}
}

// closeOutOf returns the close-out that reports a booking to Procore: the mark of the record, then those of its
// lines.
func closeOutOf(d payload.Document, b *tiebackv1.Booking) *tiebackv1.CloseOut {
	c := &tiebackv1.CloseOut{RequestDetailId: d.Detail, Status: tiebackv1.Status_STATUS_SUCCESS, Messages: b.Messages, Record: connector.Describe(d.Record)}
	if d.ItemType != "" {
		c.Marks = append(c.Marks, &tiebackv1.Mark{
			ItemType: d.ItemType, ItemId: d.Record.ProcoreId, OriginId: b.OriginId, OriginCode: b.OriginCode, OriginData: b.OriginData,
		})
	}
	for i, l := range d.Record.Lines {
		markLine(c, d, l, b.LineOriginIds[i])
	}
	return c
}

func markLine(c *tiebackv1.CloseOut, d payload.Document, l *tiebackv1.Line, origin string) {
	itemType := l.Kind
	if itemType == "" {
		itemType = d.LineType
	}
	switch itemType {
	case "":
	case "erp_transaction":
		c.BudgetTransactions = append(c.BudgetTransactions, &tiebackv1.BudgetTransaction{ProjectId: d.Project, Id: l.ProcoreId, OriginId: origin})
	default:
		c.Marks = append(c.Marks, &tiebackv1.Mark{ItemType: itemType, ItemId: l.ProcoreId, OriginId: origin})
	}
}
