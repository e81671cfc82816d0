package demo

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Each way in which books can differ from the exports is reported.
func TestEveryDifferenceIsReported(t *testing.T) {
	const commitment = tiebackv1.Entity_ENTITY_COMMITMENT
	want := &tiebackv1.Record{Entity: commitment, ProcoreId: 9, Name: "Steel", Amount: "30.10", Currency: "CAD", TaxAmount: "3", RetainagePercent: "10", Lines: []*tiebackv1.Line{
		{ProcoreId: 1, Amount: "10.10", TaxAmount: "1", TaxCodeOriginId: "GST"}, {ProcoreId: 2, Amount: "20.00", Retainage: "2.00"},
	}}
	id := recordID{commitment, 9}
	for _, tt := range []struct {
		name, want string
		change     func(b *books, booked *tiebackv1.Record)
	}{
		{"equal", "", func(_ *books, r *tiebackv1.Record) { r.Amount = "30.1" }},
		{"never booked", "is not in the ERP", func(b *books, _ *tiebackv1.Record) { delete(b.live, id) }},
		{"booked and deleted since", "", func(b *books, _ *tiebackv1.Record) { delete(b.live, id); b.deleted[id] = true }},
		{"an entity that the ERP does not list", "does not list commitments", func(b *books, _ *tiebackv1.Record) { delete(b.live, id); b.listed = nil }},
		{"a cent", "is 30.10 in Procore and 30.11 in the ERP", func(_ *books, r *tiebackv1.Record) { r.Amount = "30.11" }},
		{"a line's cent", "line 1 of", func(_ *books, r *tiebackv1.Record) { r.Lines[0].Amount = "10.1000001" }},
		{"a line's tax", "tax of line 1", func(_ *books, r *tiebackv1.Record) { r.Lines[0].TaxAmount = "" }},
		{"a document's tax", "tax of commitment", func(_ *books, r *tiebackv1.Record) { r.TaxAmount = "3.01" }},
		{"a tax code", `the tax code "GST" in Procore and "" in the ERP`, func(_ *books, r *tiebackv1.Record) { r.Lines[0].TaxCodeOriginId = "" }},
		{"a retainage percent", "retainage percent of", func(_ *books, r *tiebackv1.Record) { r.RetainagePercent = "" }},
		{"no currency", `"CAD" in Procore and in "USD" in the ERP`, func(_ *books, r *tiebackv1.Record) { r.Currency = "" }},
		{"another currency", `"CAD" in Procore and in "EUR" in the ERP`, func(_ *books, r *tiebackv1.Record) { r.Currency = "EUR" }},
		{"a retainage", "retainage of line 2", func(_ *books, r *tiebackv1.Record) { r.Lines[1].Retainage = "20" }},
		{"a missing line", "line 2 of", func(_ *books, r *tiebackv1.Record) { r.Lines = r.Lines[:1] }},
		{"a line booked twice", "2 lines in Procore and 3 in the ERP", func(_ *books, r *tiebackv1.Record) { r.Lines = append(r.Lines, r.Lines[0]) }},
		{"another name", "is named", func(_ *books, r *tiebackv1.Record) { r.Name = "Stee" }},
	} {
		booked := proto.CloneOf(want)
		b := &books{live: map[recordID][]*tiebackv1.Record{id: {booked}}, deleted: map[recordID]bool{}, listed: map[tiebackv1.Entity]bool{commitment: true}, currency: "USD"}
		tt.change(b, booked)
		c := &comparison{books: b, seen: map[recordID]bool{}}
		c.document(want)
		if got := strings.Join(c.Differ, "\n"); tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
