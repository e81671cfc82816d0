package tryton

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/shopspring/decimal"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// amountForm is an amount that fits Tryton's fields: at most 14 digits before the decimal point, and no
// exponent.
var amountForm = regexp.MustCompile(`^[+-]?\d{1,14}(\.\d{1,12})?$`)

// parse reads an amount exactly; "" is zero.
func parse(s string) (decimal.Decimal, bool) {
	if s = strings.TrimSpace(s); s == "" {
		return decimal.Zero, true
	}
	if !amountForm.MatchString(s) {
		return decimal.Zero, false
	}
	d, err := decimal.NewFromString(s)
	return d, err == nil
}

// amount returns an amount that valid has accepted.
func amount(s string) decimal.Decimal {
	d, _ := parse(s)
	return d
}

// normalize normalizes a record in place. The origin id of an assignment follows from its references.
func normalize(r *record) {
	connector.Normalize(r)
	if natural(r.Entity) {
		r.OriginId = ""
	}
}

// valid refuses a record with invalid values. digits are the decimals of its currency.
func valid(r *record, t trait, digits int32) error {
	if err := connector.CheckRecord(r, "Tryton", t.needs); err != nil {
		return err
	}
	if err := validAmounts(r, digits); err != nil {
		return err
	}
	return validMoney(r, t.model)
}

// validMoney refuses tax and retainage that would not be booked: only orders have a retainage percentage, and
// only invoices have retainage amounts.
func validMoney(r *record, model string) error {
	order, invoice := model == buys || model == sells, model == invoices
	taxed := !amount(r.TaxAmount).IsZero()
	for i, l := range r.Lines {
		taxed = taxed || !amount(l.TaxAmount).IsZero() || l.TaxCodeOriginId != ""
		if !invoice && !amount(l.Retainage).IsZero() {
			return fault.Refused("retainage", "Line %d of the %s has a retainage of %s, which Tryton does not book. Enter it in Tryton by hand.", i+1, called(r), l.Retainage)
		}
		if l.TaxCodeOriginId != "" && l.TaxAmount == "" && r.TaxAmount == "" {
			return fault.Refused("tax", "Line %d of the %s has the tax code %q and no tax amount, and Tieback does not use Tryton's taxes. Enter the tax amount in Procore and export it again.",
				i+1, called(r), l.TaxCodeOriginId)
		}
	}
	switch {
	case taxed && !order && !invoice:
		return fault.Refused("tax", "The %s has a tax, which Tryton does not book. Enter it in Tryton by hand.", called(r))
	case r.RetainagePercent != "" && !order:
		return fault.Refused("retainage", "The %s has a retainage of %s percent, which Tryton does not book. Enter it in Tryton by hand.", called(r), r.RetainagePercent)
	}
	return nil
}

func validAmounts(r *record, digits int32) error {
	if err := validAmount(r, "amount", "", r.Amount, digits); err != nil {
		return err
	}
	if err := validAmount(r, "tax_amount", "", r.TaxAmount, digits); err != nil {
		return err
	}
	for i, l := range r.Lines {
		if err := validLine(r, fmt.Sprintf(" of line %d", i+1), l, digits); err != nil {
			return err
		}
	}
	return nil
}

func validLine(r *record, where string, l *tiebackv1.Line, digits int32) error {
	for _, a := range []struct {
		field, value string
		digits       int32
	}{
		{"amount", l.Amount, digits}, {"tax_amount", l.TaxAmount, digits}, {"retainage", l.Retainage, digits},
		{"quantity", l.Quantity, 12}, {"unit_cost", l.UnitCost, 12},
	} {
		if err := validAmount(r, a.field, where, a.value, a.digits); err != nil {
			return err
		}
	}
	return nil
}

// validAmount refuses an amount that Tryton would round.
func validAmount(r *record, field, where, value string, digits int32) error {
	d, ok := parse(value)
	label := strings.ReplaceAll(field, "_", " ")
	switch {
	case !ok:
		return fault.Refused(field, "The %s %q%s of the %s is not a number that Tryton can book, such as 1234.50. Correct it in Procore and export it again.",
			label, value, where, called(r))
	case !d.Equal(d.Round(digits)):
		return fault.Refused(field, "The %s %s%s of the %s has more than the %d decimals that Tryton keeps in that currency. Round it in Procore and export it again.",
			label, value, where, called(r), digits)
	}
	return nil
}
