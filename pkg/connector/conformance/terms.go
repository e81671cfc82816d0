package conformance

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/shopspring/decimal"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// withholds lists the entities whose lines withhold retainage. The percentage of a contract applies to its
// invoices.
var (
	withholds = []Entity{directCost, requisition, application}
	contracts = []Entity{commitment, primeContract}
)

// term is a property that a document has besides its amounts.
type term struct {
	what  string
	field string // the field of a refusal; "": it must not be refused
	set   func(*Record)
	read  func(got, sent *Record, line func(i int) *tiebackv1.Line) (was, is string) // the values sent and listed
}

func lineTerm(what, field string, of func(*tiebackv1.Line) *string, value string, more func(*tiebackv1.Line)) term {
	return term{what: what, field: field,
		set: func(r *Record) {
			*of(r.Lines[0]) = value
			if more != nil {
				more(r.Lines[0])
			}
		},
		read: func(_, sent *Record, line func(int) *tiebackv1.Line) (string, string) {
			return *of(sent.Lines[0]), *of(line(0))
		},
	}
}

func recordTerm(what, field string, of func(*Record) *string, value string) term {
	return term{what: what, field: field,
		set:  func(r *Record) { *of(r) = value },
		read: func(got, sent *Record, _ func(int) *tiebackv1.Line) (string, string) { return *of(sent), *of(got) },
	}
}

func lineTax(l *tiebackv1.Line) *string  { return &l.TaxAmount }
func taxCode(l *tiebackv1.Line) *string  { return &l.TaxCodeOriginId }
func withheld(l *tiebackv1.Line) *string { return &l.Retainage }
func recordTax(r *Record) *string        { return &r.TaxAmount }
func percent(r *Record) *string          { return &r.RetainagePercent }

// taxes books documents with tax. The suite knows no tax code of the ERP, so a code may be refused. So may a
// tax that is on no line.
func taxes(ctx context.Context, s *suite) error {
	declared := func(c *can) bool { return putsAndLists(c) && c.Tax }
	return s.terms(ctx, "tax", declared, documents, []term{
		lineTerm("a tax on a line", "", lineTax, "1.03", nil),
		lineTerm("a tax code with its amount", "tax", taxCode, s.target.Unique+"-T", func(l *tiebackv1.Line) { l.TaxAmount = "1.03" }),
		lineTerm("a tax code without an amount", "tax", taxCode, s.target.Unique+"-T", nil),
		recordTerm("a tax on the document", "tax", recordTax, "2.05"),
	})
}

func retainage(ctx context.Context, s *suite) error {
	declared := func(c *can) bool { return putsAndLists(c) && c.Retainage }
	amounts := s.terms(ctx, "retainage", declared, withholds, []term{lineTerm("a retainage on a line", "", withheld, "1.02", nil)})
	percents := s.terms(ctx, "retainage", declared, contracts, []term{recordTerm("a retainage percent", "retainage", percent, "7.5")})
	return findings([]error{amounts, percents})
}

// terms books documents of each entity that declares the terms, one for each term.
func (s *suite) terms(ctx context.Context, what string, declared func(*can) bool, of []Entity, terms []term) error {
	var checks []error
	for _, e := range s.with(declared, of) {
		for _, t := range terms {
			checks = append(checks, describe(aNoun(e)+" with "+t.what, catch(func() error { return s.term(ctx, e, t) })))
		}
	}
	if len(checks) == 0 {
		return leaveOut("the connector declares no %s with put, list and %s", oneOf(of), what)
	}
	return findings(checks)
}

func (s *suite) term(ctx context.Context, e Entity, t term) error {
	from := s.cursor(ctx, e)
	q := s.newPut(ctx, e)
	t.set(q.Record)
	b, err := s.putOnce(ctx, q)
	if t.field != "" && fault.ClassOf(err) == fault.Permanent {
		return errors.Join(refused(err, t.field), s.checkNotBooked(ctx, q), s.checkAbsent(ctx, from, q))
	}
	if err != nil {
		return err
	}
	r, err := s.since(ctx, e, from).exactlyOne(q, b)
	if err != nil {
		return err
	}
	by := map[string]*tiebackv1.Line{}
	for _, l := range r.Lines {
		by[l.OriginId] = l
	}
	was, is := t.read(r, q.Record, func(i int) *tiebackv1.Line {
		if l := by[b.LineOriginIds[i]]; l != nil {
			return l
		}
		return &tiebackv1.Line{}
	})
	if !equal(was, is) {
		return fmt.Errorf("it was booked with %q, but the listing has %q", was, is)
	}
	return compare(r, q.Record, b.LineOriginIds)
}

// equal compares amounts by value and other texts exactly.
func equal(a, b string) bool {
	x, err := decimal.NewFromString(a)
	y, err2 := decimal.NewFromString(b)
	return a == b || err == nil && err2 == nil && x.Equal(y)
}

var isoCode = regexp.MustCompile(`^[A-Z]{3}$`)

// foreign returns a currency that is not the company's own.
func (s *suite) foreign() string {
	if s.caps.Currency == "CAD" {
		return "USD"
	}
	return "CAD"
}

// currencies books documents in the company's own currency, by its name, and in another one. An ERP may
// refuse a currency that it does not know, or that can't be mixed with another one.
func currencies(ctx context.Context, s *suite) error {
	own := s.caps.Currency
	if own == "" {
		return leaveOut("the connector does not declare the company's currency")
	}
	e := s.among("put and list", documents, putsAndLists)
	home := recordTerm("the company's own currency", "", func(r *Record) *string { return &r.Currency }, own)
	home.read = func(got, _ *Record, _ func(int) *tiebackv1.Line) (string, string) {
		if got.Currency == "" {
			return own, own
		}
		return own, got.Currency
	}
	if err := s.term(ctx, e, home); err != nil {
		return fmt.Errorf("%s in %s, the company's own currency: %w", aNoun(e), own, err)
	}
	away := recordTerm("another currency", "currency", func(r *Record) *string { return &r.Currency }, s.foreign())
	err := s.terms(ctx, "currency", func(c *can) bool { return putsAndLists(c) && c.Currency }, documents, []term{away})
	if isLeftOut(err) {
		return nil // the connector takes only the company's own currency
	}
	return err
}
