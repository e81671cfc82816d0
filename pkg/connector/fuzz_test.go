package connector

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// FuzzAnswers books and changes a record with a connector that returns arbitrary answers. Book never panics, and never
// succeeds without the origin id to report to Procore.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []*tiebackv1.Booking{
		nil, {}, {OriginId: "V-1"}, {OriginId: "V-9"}, {OriginId: "V-1", LineOriginIds: []string{"a", ""}}, {OriginId: "V-1", LineOriginIds: []string{"a", "a"}},
		{OriginId: "\xff\x00", OriginCode: "c", Stamp: "s"},
	} {
		raw, err := proto.Marshal(seed)
		if err != nil {
			continue // not UTF-8: protobuf does not carry it
		}
		f.Add(raw, true, 0)
		f.Add(raw, false, 2)
	}
	f.Fuzz(func(t *testing.T, raw []byte, change bool, lines int) {
		answer := &tiebackv1.Booking{}
		if proto.Unmarshal(raw, answer) != nil {
			return
		}
		b, _, e := world()
		b.answer = func(*tiebackv1.Booking) *tiebackv1.Booking { return answer }
		r := acme()
		for i := range min(max(lines, 0), 5) {
			r.Lines = append(r.Lines, &tiebackv1.Line{ProcoreId: int64(i + 1)})
		}
		if change {
			r.OriginId = "V-1"
		}
		got, err := e.Book(t.Context(), RequestRef{Order: by(1)}, r)
		if err == nil && (got.GetOriginId() == "" || len(got.LineOriginIds) != len(r.Lines)) {
			t.Errorf("success with %v for %d lines", got, len(r.Lines))
		}
		if err != nil && err.Error() == "" {
			t.Errorf("an error of class %v without words", fault.ClassOf(err))
		}
	})
}
