package ledger

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/shopspring/decimal"
	"golang.org/x/text/unicode/norm"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// An amount has at most 18 digits before the point and 12 behind it, no exponent.
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

// known is an amount that validate has seen.
func known(s string) decimal.Decimal {
	d, _ := money(s)
	return d
}

// normalize trims what people type, in place, and brings what is compared into Unicode's normal form C.
func normalize(r *Record) {
	for _, s := range []*string{&r.OriginId, &r.Code, &r.Name, &r.Number, &r.Currency, &r.Date, &r.StartsOn, &r.EndsOn} {
		*s = strings.TrimSpace(*s)
	}
	for _, s := range []*string{&r.Code, &r.Name, &r.Number} {
		*s = norm.NFC.String(*s)
	}
	if r.Entity == Insurance && r.VendorOriginId == "" {
		r.VendorOriginId = r.ParentOriginId
	}
	if r.Entity == Insurance {
		r.ParentOriginId = r.VendorOriginId
	}
}

// validate refuses what the record itself shows to be wrong; refs.go looks at the rest.
func validate(r *Record) error {
	t, ok := traitOf(r.GetEntity())
	if !ok {
		return fault.Permanentf("The ledger has no records of the kind %v.", r.GetEntity())
	}
	for field := range strings.FieldsSeq(t.needs) {
		if err := present(r, field); err != nil {
			return err
		}
	}
	if r.GetEntity() == JobCost && len(r.GetLines()) > 0 {
		return fault.Refused("lines", "The %s has lines, and a job cost has none in the ledger.", call(r))
	}
	for _, check := range []func(*Record) error{validText, validDates, validAmounts, validMoney} {
		if err := check(r); err != nil {
			return err
		}
	}
	return nil
}

func present(r *Record, field string) error {
	value := map[string]string{
		"name": r.GetName(), "code": r.GetCode(), "job": r.GetJobOriginId(), "vendor": r.GetVendorOriginId(),
		"contract": r.GetContractOriginId(), "cost_code": r.GetCostCodeOriginId(), "category": r.GetCategoryOriginId(),
	}[field]
	label := strings.ReplaceAll(field, "_", " ")
	switch {
	case value != "":
		return nil
	case field == "name" || field == "code":
		return fault.Refused(field, "The %s has no %s. Give it a %s and export it again.", call(r), label, label)
	}
	return fault.Refused(field, "The %s has no %s in the ledger. Export its %s first, then export it again.", call(r), label, label)
}

func validText(r *Record) error {
	texts := []string{r.GetCode(), r.GetName(), r.GetDescription(), r.GetStatus(), r.GetKind(), r.GetNumber(), r.GetOriginData()}
	for _, l := range r.GetLines() {
		texts = append(texts, l.GetDescription(), l.GetUnit(), l.GetKind())
	}
	for _, s := range texts {
		if !utf8.ValidString(s) {
			return fault.Refused("", "The %s has a text with broken characters (not UTF-8). Type it anew and export it again.", Title(r.GetEntity()))
		}
	}
	if c := r.GetCurrency(); c != "" && !currencyForm.MatchString(c) {
		return fault.Refused("currency", "The currency %q of the %s is no ISO code such as USD.", c, call(r))
	}
	return nil
}

func validDates(r *Record) error {
	for _, d := range []struct{ field, value string }{
		{"date", r.GetDate()}, {"starts_on", r.GetStartsOn()}, {"ends_on", r.GetEndsOn()},
	} {
		if d.value == "" {
			continue
		}
		if _, err := time.Parse(time.DateOnly, d.value); err != nil {
			return fault.Refused(d.field, "The date %q of the %s is no date of the form YYYY-MM-DD.", d.value, call(r))
		}
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

// stored is an amount the ledger wrote itself; a sum may be longer than what money takes.
func stored(s string) decimal.Decimal {
	d, _ := decimal.NewFromString(s)
	return d
}
