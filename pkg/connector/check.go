package connector

import (
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Normalize trims the ids, names, codes, numbers, dates and the currency of a record, in place, and brings what drivers
// compare into Unicode's normal form C. Records of an export are normalized already; a driver normalizes what its own
// users enter.
func Normalize(r *tiebackv1.Record) {
	for _, s := range []*string{&r.OriginId, &r.Code, &r.Name, &r.Number, &r.Currency, &r.Date, &r.StartsOn, &r.EndsOn} {
		*s = norm.NFC.String(strings.TrimSpace(*s))
	}
}

// CheckRecord refuses a record that lacks a needed field, or has an invalid text or date. needs are the names of the fields,
// separated by spaces: name, code, amount, job, vendor, contract, cost_code, category. A document with lines needs no
// amount. erp is the ERP's name within a sentence: "Tryton", "the ledger".
func CheckRecord(r *tiebackv1.Record, erp, needs string) error {
	values := map[string]string{
		"name": r.GetName(), "code": r.GetCode(), "amount": r.GetAmount(), "job": r.GetJobOriginId(), "vendor": r.GetVendorOriginId(),
		"contract": r.GetContractOriginId(), "cost_code": r.GetCostCodeOriginId(), "category": r.GetCategoryOriginId(),
	}
	for field := range strings.FieldsSeq(needs) {
		label := strings.ReplaceAll(field, "_", " ")
		switch {
		case values[field] != "" || field == "amount" && len(r.GetLines()) > 0:
		case field == "name" || field == "code" || field == "amount":
			return fault.Refused(field, "The %s has no %s. Enter it in Procore and export the record again.", Describe(r), label)
		default:
			return fault.Refused(field, "The %s has no %s in %s. Export its %s first, then export the record again.", Describe(r), label, erp, label)
		}
	}
	texts := []string{r.GetCode(), r.GetName(), r.GetDescription(), r.GetStatus(), r.GetKind(), r.GetNumber(), r.GetOriginData()}
	for _, l := range r.GetLines() {
		texts = append(texts, l.GetDescription(), l.GetUnit(), l.GetKind())
	}
	for _, s := range texts {
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return fault.Refused("", "The %s has a text with invalid characters (not UTF-8). Enter the text again in Procore, then export the record again.", Noun(r.GetEntity()))
		}
	}
	for _, d := range []struct{ field, value string }{{"date", r.GetDate()}, {"starts_on", r.GetStartsOn()}, {"ends_on", r.GetEndsOn()}} {
		if _, err := time.Parse(time.DateOnly, d.value); d.value != "" && err != nil {
			return fault.Refused(d.field, "The date %q of the %s is not a date of the form YYYY-MM-DD.", d.value, Describe(r))
		}
	}
	return nil
}
