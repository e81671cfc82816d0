package ledger

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"github.com/shopspring/decimal"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// amountForm is an amount of at most 18 digits before the decimal point and 12 after it, without an exponent.
var amountForm = regexp.MustCompile(`^[+-]?\d{1,18}(\.\d{1,12})?$`)

var currencyForm = regexp.MustCompile(`^[A-Z]{3}$`)

// money reads an amount exactly; "" is zero.
func money(s string) (decimal.Decimal, bool) {
	s = strings.TrimSpace(s)
	if s == "" {
		return decimal.Zero, true
	}
	if !amountForm.MatchString(s) {
		return decimal.Zero, false
	}
	d, err := decimal.NewFromString(s)
	return d, err == nil
}

// known returns an amount that validate has accepted.
func known(s string) decimal.Decimal {
	d, _ := money(s)
	return d
}

// normalize normalizes a record in place. An insurance belongs to its vendor under both names.
func normalize(r *Record) {
	connector.Normalize(r)
	if r.Entity == Insurance {
		r.VendorOriginId = cmp.Or(r.VendorOriginId, r.ParentOriginId)
		r.ParentOriginId = r.VendorOriginId
	}
}

// validate refuses a record with invalid values; resolve checks its references.
func validate(r *Record) error {
	t, ok := traitOf(r.GetEntity())
	if !ok {
		return fault.Permanentf("The ledger has no records of the kind %v.", r.GetEntity())
	}
	if err := connector.CheckRecord(r, "the ledger", t.needs); err != nil {
		return err
	}
	if r.GetEntity() == JobCost && len(r.GetLines()) > 0 {
		return fault.Refused("lines", "The %s has lines, and a job cost has none in the ledger.", call(r))
	}
	for _, check := range []func(*Record) error{validCurrency, validAmounts, validMoney} {
		if err := check(r); err != nil {
			return err
		}
	}
	return nil
}

func validCurrency(r *Record) error {
	if c := r.GetCurrency(); c != "" && !currencyForm.MatchString(c) {
		return fault.Refused("currency", "The currency %q of the %s is not an ISO code such as USD.", c, call(r))
	}
	return nil
}

func validAmounts(r *Record) error {
	for _, a := range []struct{ field, value string }{{"amount", r.GetAmount()}, {"actual_amount", r.GetActualAmount()}, {"tax_amount", r.GetTaxAmount()}, {"retainage_percent", r.GetRetainagePercent()}} {
		if _, ok := money(a.value); !ok {
			return badAmount(r, a.field, "", a.value)
		}
	}
	for i, l := range r.GetLines() {
		if err := validLine(r, fmt.Sprintf(" of line %d", i+1), l); err != nil {
			return err
		}
	}
	return nil
}

func validLine(r *Record, where string, l *tiebackv1.Line) error {
	for _, a := range []struct{ field, value string }{
		{"amount", l.GetAmount()}, {"tax_amount", l.GetTaxAmount()}, {"retainage", l.GetRetainage()},
		{"quantity", l.GetQuantity()}, {"unit_cost", l.GetUnitCost()}, {"retainage_percent", l.GetRetainagePercent()},
	} {
		if _, ok := money(a.value); !ok {
			return badAmount(r, a.field, where, a.value)
		}
	}
	return nil
}

func badAmount(r *Record, field, where, value string) error {
	return fault.Refused(field, "The %s %q%s of the %s is not a number the ledger can book. "+
		"Give it at most 18 digits and 12 decimals, such as 1234.50, and export it again.",
		strings.ReplaceAll(field, "_", " "), value, where, call(r))
}

// stored returns an amount that the ledger wrote. A sum may have more digits than money accepts.
func stored(s string) decimal.Decimal {
	d, _ := decimal.NewFromString(s)
	return d
}
