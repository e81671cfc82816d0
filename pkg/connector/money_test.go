package connector

import (
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// A tax, retainage or currency that the ERP does not take is refused with the record and the field, without a call.
func TestTaxRetainageAndCurrency(t *testing.T) {
	const invoice = tiebackv1.Entity_ENTITY_REQUISITION
	type line = tiebackv1.Line
	with := func(l *line) *tiebackv1.Record {
		l.Position = 1
		return &tiebackv1.Record{Entity: invoice, ProcoreId: 3, Number: "9348", Lines: []*line{l}}
	}
	for _, tt := range []struct {
		why   string
		can   *tiebackv1.EntityCapability
		rec   *tiebackv1.Record
		field string // "": booked
		says  string
	}{
		{"tax", &tiebackv1.EntityCapability{Retainage: true, Currency: true}, with(&line{Amount: "100.00", TaxAmount: "10.00"}), "tax", "line 1 has a tax of 10.00"},
		{"tax code", &tiebackv1.EntityCapability{Retainage: true, Currency: true}, with(&line{Amount: "100.00", TaxCodeOriginId: "GST"}), "tax", `line 1 has the tax code "GST"`},
		{"tax of the document", &tiebackv1.EntityCapability{}, &tiebackv1.Record{Entity: invoice, ProcoreId: 3, Number: "9348", TaxAmount: "10"}, "tax", "it has a tax of 10"},
		{"a tax of zero counts as no tax", &tiebackv1.EntityCapability{}, with(&line{Amount: "100.00", TaxAmount: "0.0"}), "", ""},
		{"tax is taken", &tiebackv1.EntityCapability{Tax: true}, with(&line{Amount: "100.00", TaxAmount: "10.00", TaxCodeOriginId: "GST"}), "", ""},
		{"retainage", &tiebackv1.EntityCapability{Tax: true, Currency: true}, with(&line{Amount: "100.00", Retainage: "-5.00"}), "retainage", "line 1 has a retainage of -5.00"},
		{"retainage percent", &tiebackv1.EntityCapability{}, &tiebackv1.Record{Entity: invoice, ProcoreId: 3, Number: "9348", RetainagePercent: "10.0"}, "retainage", "10.0 percent"},
		{"a retainage of zero counts as no retainage", &tiebackv1.EntityCapability{}, with(&line{Amount: "100.00", Retainage: "0", RetainagePercent: "10"}), "", ""},
		{"retainage is taken", &tiebackv1.EntityCapability{Retainage: true}, with(&line{Amount: "100.00", Retainage: "5"}), "", ""},
		{"currency", &tiebackv1.EntityCapability{Tax: true, Retainage: true}, &tiebackv1.Record{Entity: invoice, ProcoreId: 3, Number: "9348", Currency: "CAD"}, "currency", "it is in CAD"},
		{"the company's currency", &tiebackv1.EntityCapability{}, &tiebackv1.Record{Entity: invoice, ProcoreId: 3, Number: "9348", Currency: "USD"}, "", ""},
		{"currency is taken", &tiebackv1.EntityCapability{Currency: true}, &tiebackv1.Record{Entity: invoice, ProcoreId: 3, Number: "9348", Currency: "CAD"}, "", ""},
	} {
		t.Run(tt.why, func(t *testing.T) {
			b, _, e := world()
			tt.can.Entity, tt.can.Put, tt.can.Update = invoice, true, true
			b.caps = &tiebackv1.CapabilitiesResponse{Name: "Books", Currency: "USD", Entities: []*tiebackv1.EntityCapability{tt.can}}
			b.answer = func(a *tiebackv1.Booking) *tiebackv1.Booking {
				for range tt.rec.Lines {
					a.LineOriginIds = append(a.LineOriginIds, "L")
				}
				return a
			}
			_, err := e.Book(t.Context(), RequestRef{Order: by(1)}, tt.rec)
			if tt.field == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			sentence := fault.UserMessage(err, "")
			if fault.ClassOf(err) != fault.Permanent || fault.Field(err) != tt.field || len(b.calls) > 0 {
				t.Errorf("%v, field %q, after %v", err, fault.Field(err), b.calls)
			}
			for _, says := range []string{tt.says, `subcontractor invoice "9348"`, "Books"} {
				if !strings.Contains(sentence, says) {
					t.Errorf("%q does not say %q", sentence, says)
				}
			}
		})
	}
}

func TestCurrencyOfAnERPThatDeclaresNone(t *testing.T) {
	b, _, e := world()
	r := acme()
	r.Currency = "USD"
	_, err := e.Book(t.Context(), RequestRef{Order: by(1)}, r)
	refused(t, err, "the company's own currency only")
	if len(b.calls) > 0 {
		t.Errorf("calls %v", b.calls)
	}
}
