package bus

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// FuzzSubject checks that each subject that parses has one spelling: String returns the parsed text.
func FuzzSubject(f *testing.F) {
	for _, seed := range []string{
		"tb.event.export.create_vendor.7.9", "tb.event.export.create_vendor.7.9.42", "tb.outcome._._.7.9.late", "tb.outcome.sync.sync_vendors.7.9.42-late",
		"tb.outcome._._.7.9.swept", "tb.event.sync.create_vendor.7.9", "tb.event.export.create_vendor.07.9", "tb.event.export.create_vendor.7.9.", "tb.event.export.*.7.9",
		"tb.event.export.create_vendor.7.9.042", "tb.x.export.create_vendor.7.9", "tb.event.export.create_vendor.+7.9", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		s, err := Parse(raw)
		if err == nil && s.String() != raw {
			t.Errorf("%q parses, but String returns %q", raw, s)
		}
	})
}

// FuzzEnvelope checks that Decode does not panic on any input, and refuses a message of another company or request with a
// permanent error.
func FuzzEnvelope(f *testing.F) {
	for _, m := range []proto.Message{
		&tiebackv1.Delivery{CompanyId: 7, ErpRequestId: 9}, &tiebackv1.Event{CompanyId: 7, ErpRequestId: 9, Type: "create_vendor", Payload: []byte("{}")},
		&tiebackv1.Outcome{CompanyId: 8, ErpRequestId: 9, CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: 1, Marks: []*tiebackv1.Mark{{}}}}}, &tiebackv1.DeadLetter{},
	} {
		raw, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		msg := Message{Subject: For(Event, "create_vendor", 7, 9), Data: raw}
		for _, into := range []interface {
			proto.Message
			GetCompanyId() int64
			GetErpRequestId() int64
		}{&tiebackv1.Delivery{}, &tiebackv1.Event{}, &tiebackv1.Outcome{}} {
			err := Decode(msg, into)
			switch {
			case err != nil && fault.ClassOf(err) != fault.Permanent:
				t.Errorf("%v is not a permanent error", err)
			case err == nil && (into.GetCompanyId() != 7 || into.GetErpRequestId() != 9):
				t.Errorf("accepted a message of company %d, request %d", into.GetCompanyId(), into.GetErpRequestId())
			}
		}
	})
}
