package connector

import (
	"cmp"
	"context"
	"fmt"

	"github.com/shopspring/decimal"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// checkMoney refuses a record with a tax, a retainage or a foreign currency that the ERP does not take and
// that would therefore be missing in its books. A tax or retainage of zero counts as none, unless the line
// has a tax code. The company's own currency is not foreign.
func (e *ERP) checkMoney(ctx context.Context, r *tiebackv1.Record) error {
	erp, can, err := e.can(ctx, r.Entity)
	if err != nil || can == nil {
		return err
	}
	if where, what := taxOf(r); what != "" && !can.Tax {
		return fault.Refused("tax", "%s takes no tax with %s from Procore, so %s was not exported: %s has %s. Enter it in %s by hand.",
			erp, Plural(r.Entity), Describe(r), where, what, erp)
	}
	if where, what := retainageOf(r); what != "" && !can.Retainage {
		return fault.Refused("retainage", "%s takes no retainage with %s from Procore, so %s was not exported: %s has %s. Enter it in %s by hand.",
			erp, Plural(r.Entity), Describe(r), where, what, erp)
	}
	caps, err := e.Capabilities(ctx)
	if err != nil || r.Currency == "" || can.Currency || r.Currency == caps.Currency {
		return err
	}
	return fault.Refused("currency", "%s takes %s in %s only, so %s was not exported: it is in %s. Enter it in %s by hand.",
		erp, Plural(r.Entity), cmp.Or(caps.Currency, "the company's own currency"), Describe(r), r.Currency, erp)
}

// taxOf returns where a record has a tax, and which tax, or "" if it has no tax.
func taxOf(r *tiebackv1.Record) (where, what string) {
	if nonzero(r.TaxAmount) {
		return "it", "a tax of " + r.TaxAmount
	}
	for _, l := range r.Lines {
		switch {
		case nonzero(l.TaxAmount):
			return lineOf(l), "a tax of " + l.TaxAmount
		case l.TaxCodeOriginId != "":
			return lineOf(l), fmt.Sprintf("the tax code %q", l.TaxCodeOriginId)
		}
	}
	return "", ""
}

// retainageOf returns where a record has a retainage, and which retainage, or "" if it has no retainage. The
// percentage of a line does not count without an amount.
func retainageOf(r *tiebackv1.Record) (where, what string) {
	if nonzero(r.RetainagePercent) {
		return "it", "a retainage of " + r.RetainagePercent + " percent"
	}
	for _, l := range r.Lines {
		if nonzero(l.Retainage) {
			return lineOf(l), "a retainage of " + l.Retainage
		}
	}
	return "", ""
}

func lineOf(l *tiebackv1.Line) string { return fmt.Sprintf("line %d", l.Position) }

func nonzero(amount string) bool {
	d, err := decimal.NewFromString(amount)
	return err == nil && !d.IsZero()
}
