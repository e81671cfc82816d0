package demo

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Each way in which books can differ from what was exported is told.
func TestTheComparisonTellsEveryDifference(t *testing.T) {
	const commitment = tiebackv1.Entity_ENTITY_COMMITMENT
	want := &tiebackv1.Record{Entity: commitment, ProcoreId: 9, Name: "Steel", Amount: "30.10", Currency: "CAD", TaxAmount: "3", RetainagePercent: "10", Lines: []*tiebackv1.Line{
		{ProcoreId: 1, Amount: "10.10", TaxAmount: "1", TaxCodeOriginId: "GST"}, {ProcoreId: 2, Amount: "20.00", Retainage: "2.00"},
	}}
	id := recordID{commitment, 9}
	for _, tt := range []struct {
		why, says string
		wrong     func(b *books, booked *tiebackv1.Record)
	}{
		{"nothing is wrong", "", func(_ *books, r *tiebackv1.Record) { r.Amount = "30.1" }},
		{"never booked", "is not in the ERP", func(b *books, _ *tiebackv1.Record) { delete(b.live, id) }},
		{"booked, and taken out since", "", func(b *books, _ *tiebackv1.Record) { delete(b.live, id); b.gone[id] = true }},
		{"an entity nobody lists", "does not list commitments", func(b *books, _ *tiebackv1.Record) { delete(b.live, id); b.told = nil }},
		{"a cent", "Procore says 30.10, the ERP 30.11", func(_ *books, r *tiebackv1.Record) { r.Amount = "30.11" }},
		{"a line's cent", "line 1 of", func(_ *books, r *tiebackv1.Record) { r.Lines[0].Amount = "10.1000001" }},
		{"a line's tax", "tax of line 1", func(_ *books, r *tiebackv1.Record) { r.Lines[0].TaxAmount = "" }},
		{"a document's tax", "tax of commitment", func(_ *books, r *tiebackv1.Record) { r.TaxAmount = "3.01" }},
		{"a tax code", `the tax code "GST" in Procore and "" in the ERP`, func(_ *books, r *tiebackv1.Record) { r.Lines[0].TaxCodeOriginId = "" }},
		{"a retainage percent", "retainage percent of", func(_ *books, r *tiebackv1.Record) { r.RetainagePercent = "" }},
		{"a currency that is left out", `"CAD" in Procore and in "USD" in the ERP`, func(_ *books, r *tiebackv1.Record) { r.Currency = "" }},
		{"another currency", `"CAD" in Procore and in "EUR" in the ERP`, func(_ *books, r *tiebackv1.Record) { r.Currency = "EUR" }},
		{"what is withheld", "retainage of line 2", func(_ *books, r *tiebackv1.Record) { r.Lines[1].Retainage = "20" }},
		{"a forgotten line", "line 2 of", func(_ *books, r *tiebackv1.Record) { r.Lines = r.Lines[:1] }},
		{"a line booked twice", "2 lines in Procore and 3 in the ERP", func(_ *books, r *tiebackv1.Record) { r.Lines = append(r.Lines, r.Lines[0]) }},
		{"another name", "is named", func(_ *books, r *tiebackv1.Record) { r.Name = "Stee" }},
	} {
		booked := proto.CloneOf(want)
		b := &books{live: map[recordID][]*tiebackv1.Record{id: {booked}}, gone: map[recordID]bool{}, told: map[tiebackv1.Entity]bool{commitment: true}, own: "USD"}
		tt.wrong(b, booked)
		c := &comparison{books: b, seen: map[recordID]bool{}}
		c.document(want)
		if got := strings.Join(c.differ, "\n"); tt.says == "" && got != "" || !strings.Contains(got, tt.says) {
			t.Errorf("%s: %q does not say %q", tt.why, got, tt.says)
		}
	}
}
