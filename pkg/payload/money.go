package payload

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// refuse records why the current document can't be booked; the first reason counts. The other documents of
// the payload are not affected. The text names the field and says what to do.
func (r *reader) refuse(field, format string, args ...any) {
	if r.refusal == nil {
		r.refusal = &fault.Error{Class: fault.Permanent, Field: field, UserMessage: fmt.Sprintf(format, args...)}
	}
}

// finish completes a document: its refusal names the record.
func (r *reader) finish(d *Document) Document {
	if f := r.refusal; f != nil {
		d.Refusal, r.refusal = fault.Refused(f.Field, "%s was not exported: %s", connector.Describe(d.Record), f.UserMessage), nil
	}
	return *d
}

// required reads an amount from the first of the fields that has one. If none has, it refuses the document
// and returns "".
func (r *reader) required(where string, o Object, names ...string) string {
	for _, name := range names {
		if s := r.decimal(o, name); s != "" {
			return s
		}
	}
	r.refuse(names[0], "%s has no %s. Enter it in Procore, then export again.", where, words(names[0]))
	return ""
}

func line(position int) string { return fmt.Sprintf("line %d", position) }

// itemAmount reads the amount of a line of a contract or change order, without its tax: the published sample
// has 343.85 with a tax of 12.71, and 343.85 is 299.00 plus a markup of 44.85. A missing amount is taken from
//
//	extended_amount   which includes neither markup nor tax
//	total_amount      if the line has no tax, as it is not published whether the total includes tax
//
// If a line has both, they must agree.
func (r *reader) itemAmount(o Object, position int) string {
	if s := r.decimal(o, "amount"); s != "" {
		return s
	}
	extended, total, tax := r.decimal(o, "extended_amount"), r.decimal(o, "total_amount"), r.decimal(o, "tax_amount")
	switch {
	case extended != "" && total != "" && !fits(value(total), value(extended), value(tax), 1):
		r.refuse("amount", "%s has no amount, and its extended amount is %s while its total is %s with a tax of %s. Enter the amount in Procore, then export again.",
			line(position), extended, total, value(tax))
	case extended != "":
		return extended
	case total != "" && !r.taxed(o):
		return total
	default:
		r.refuse("amount", "%s has no amount. Enter it in Procore, then export again.", line(position))
	}
	return ""
}

// fits reports whether total equals net, or net plus tax, except for the rounding of the lines.
func fits(total, net, tax decimal.Decimal, lines int) bool {
	return near(total, net, lines) || near(total, net.Add(tax), lines)
}

var halfCent = decimal.New(5, -3)

// near reports whether two amounts differ by no more than the rounding of the lines to cents, half a cent
// each.
func near(a, b decimal.Decimal, lines int) bool {
	return a.Sub(b).Abs().LessThanOrEqual(halfCent.Mul(decimal.NewFromInt(int64(lines))))
}

// taxed reports whether a line has tax, or may have tax: a tax code without a tax amount.
func (r *reader) taxed(o Object) bool {
	tax := r.decimal(o, "tax_amount")
	return !value(tax).IsZero() || tax == "" && o.hasTaxCode()
}

func (o Object) hasTaxCode() bool {
	return o.Text("tax_code_id") != "" || o.Text("tax_code_origin_id") != "" || len(o.Object("tax_code")) > 0
}

// costAmount reads the amount of a line of a direct cost, without its tax. The payload has a total_amount,
// and it is not published whether that includes tax. A line that has tax, or may have, therefore needs a
// second number: an amount, an extended amount, or quantity and unit cost, rounded to cents, if Procore
// calculated the line from them.
func (r *reader) costAmount(o Object, position int) string {
	total, tax := r.decimal(o, "total_amount"), value(r.decimal(o, "tax_amount"))
	if total != "" && !r.taxed(o) {
		return total
	}
	net := r.decimal(o, "amount")
	if net == "" {
		net = r.decimal(o, "extended_amount")
	}
	if quantity, cost := r.decimal(o, "quantity"), r.decimal(o, "unit_cost"); net == "" && quantity != "" && cost != "" && o.Text("extended_type") == "calculated" {
		net = value(quantity).Mul(value(cost)).Round(2).String()
	}
	switch {
	case net == "" && total == "":
		r.refuse("total_amount", "%s has no total amount. Enter it in Procore, then export again.", line(position))
	case total != "" && tax.IsZero() && r.taxed(o) && (net == "" || !near(value(total), value(net), 1)):
		r.refuse("tax_amount", "%s has a tax code, but no tax amount, and Procore does not say how much of its total of %s is tax. Enter the tax amount in Procore, then export again.",
			line(position), total)
	case net == "":
		r.refuse("tax_amount", "%s has a total of %s and a tax of %s, and Procore does not say whether the tax is in the total. Enter the line without tax in Procore, then export again.",
			line(position), total, tax)
	case total != "" && !fits(value(total), value(net), tax, 1):
		r.refuse("total_amount", "the total of %s is %s, and its amount is %s with a tax of %s. Correct it in Procore, then export again.", line(position), total, net, tax)
	}
	return net
}

// sums returns the sums of the lines.
func sums(lines []*tiebackv1.Line) (amount, tax, retainage decimal.Decimal) {
	for _, l := range lines {
		amount, tax, retainage = amount.Add(value(l.Amount)), tax.Add(value(l.TaxAmount)), retainage.Add(value(l.Retainage))
	}
	return amount, tax, retainage
}

// setTotal sets the record's amount: the sum of its lines or, without lines, the published total. A published
// total ("": none) must equal that sum with or without the tax of the lines, as it is not published which. A
// record with neither lines nor a total is refused. So is a record whose lines are all deleted, as its total
// may be theirs.
func (r *reader) setTotal(rec *tiebackv1.Record, sent int, name, published string) {
	amount, _, _ := sums(rec.Lines)
	switch {
	case len(rec.Lines) == 0 && sent > 0:
		r.refuse("lines", "all its lines are deleted in Procore. Enter its lines in Procore, or delete it there, then export again.")
	case len(rec.Lines) == 0 && published == "":
		r.refuse("amount", "it has neither lines nor a total. Enter its lines in Procore, then export again.")
	case len(rec.Lines) == 0:
		rec.Amount = published
	default:
		rec.Amount = amount.String()
		r.checkTotal(rec, name, published)
	}
}

// checkTotal refuses a document whose published total differs from its amount, with or without the tax of its
// lines, by more than the rounding of each line.
func (r *reader) checkTotal(rec *tiebackv1.Record, name, published string) {
	_, tax, _ := sums(rec.Lines)
	if published == "" || fits(value(published), value(rec.Amount), tax, len(rec.Lines)) {
		return
	}
	with := ""
	if !tax.IsZero() {
		with = fmt.Sprintf(", with a tax of %s", tax)
	}
	r.refuse(name, "its %s in Procore is %s, and its lines come to %s%s. Correct it in Procore, then export again.", words(name), published, rec.Amount, with)
}

const taxCodeItem = "tax_code" // the item type of tax codes

// taxCode fills in the tax code of a line: its origin id if the payload has it, otherwise the one that is
// linked to Procore's id. A code without an origin id is left out if the tax amount of the line or, see
// documentTax, of the whole document is known. Otherwise the record is refused.
func (r *reader) taxCode(d *Document, l *tiebackv1.Line, o Object) {
	code := o.Object("tax_code")
	l.TaxCodeOriginId = cmp.Or(o.Text("tax_code_origin_id"), code.Text("origin_id"))
	missing := ""
	if l.TaxAmount == "" {
		missing = fmt.Sprintf("%s of %s has a tax code that is not in your ERP system, and Procore sent no tax amount. Enter the tax amount in Procore, then export again.",
			upper(line(int(l.Position))), connector.Describe(d.Record))
	}
	d.addRef(&l.TaxCodeOriginId, cmp.Or(r.ref(o, "tax_code_id"), r.ref(code, "id")), missing, taxCodeItem)
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// documentTax reads the tax of an invoice as a whole, after its lines. If the lines have tax, it must be
// their sum except for rounding; otherwise it is the record's own tax. With it, no line needs a tax amount.
func (r *reader) documentTax(d *Document, o Object) {
	published := r.decimal(o.Object("summary"), "tax_applicable_to_this_payment")
	if published == "" {
		return
	}
	for i, ref := range d.Refs {
		if slices.Contains(ref.ItemTypes, taxCodeItem) {
			d.Refs[i].Missing = ""
		}
	}
	_, tax, _ := sums(d.Record.Lines)
	switch {
	case tax.IsZero() && !value(published).IsZero():
		d.Record.TaxAmount = published
	case near(value(published), tax, len(d.Record.Lines)):
	default:
		r.refuse("tax_amount", "its tax in Procore is %s, and the tax of its lines comes to %s. Correct it in Procore, then export again.", published, tax)
	}
}

// percent reads a percentage. It returns "" for zero.
func (r *reader) percent(o Object, name string) string {
	s := r.decimal(o, name)
	if value(s).IsZero() {
		return ""
	}
	return s
}

var isoCode = regexp.MustCompile(`^[A-Z]{3}$`)

// currency reads the currency of a document from the first object that has one: the document itself, what it
// belongs to, its lines. A document with a line in another currency is refused.
func (r *reader) currency(rec *tiebackv1.Record, of []Object, lines []Object) {
	for _, o := range append(of, lines...) {
		if rec.Currency == "" {
			rec.Currency = currencyOf(o)
		}
	}
	if rec.Currency != "" && !isoCode.MatchString(rec.Currency) {
		r.refuse("currency", "its currency %.20q is not a code such as USD. Correct it in Procore, then export again.", rec.Currency)
	}
	for i, o := range lines {
		if c := currencyOf(o); c != "" && c != rec.Currency {
			r.refuse("currency", "%s is in %s, and the document is in %s. Enter them as two documents in Procore, then export again.", line(i+1), c, rec.Currency)
		}
	}
}

func currencyOf(o Object) string {
	return strings.ToUpper(o.Object("currency_configuration").Text("currency_iso_code"))
}
