package dead

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// newer is an unknown field, as a newer version may write it.
var newer = protowire.AppendString(protowire.AppendTag(nil, 900, protowire.BytesType), "from a newer version")

// editable returns a message of each kind that can be edited. Each contains "Acme".
func editable() map[bus.Kind]proto.Message {
	return map[bus.Kind]proto.Message{
		bus.Delivery: &tiebackv1.Delivery{CompanyId: 7, ErpRequestId: 12, EventId: "Acme"},
		bus.Event:    &tiebackv1.Event{CompanyId: 7, ErpRequestId: 12, Type: "create_vendor", Payload: []byte(`{"id":12,"name":"Acme"}`)},
		bus.Outcome: &tiebackv1.Outcome{CompanyId: 7, ErpRequestId: 12, Type: "create_vendor", CloseOuts: []*tiebackv1.CloseOut{
			{RequestDetailId: 1001, Record: "Acme", Marks: []*tiebackv1.Mark{{ItemType: "vendor", ItemId: 3}}},
		}},
	}
}

func typeOf(k bus.Kind) string {
	if k == bus.Delivery {
		return ""
	}
	return "create_vendor"
}

// During an upgrade the operator's version may be the older one.
func TestEditKeepsUnknownFields(t *testing.T) {
	for kind, m := range editable() {
		t.Run(string(kind), func(t *testing.T) {
			r := on(kind, typeOf(kind), slices.Concat(raw(t, m), newer))
			if strings.Contains(r.Text, "newer") {
				t.Fatalf("the field is not unknown: %s", r.Text)
			}
			e, err := r.Take(strings.Replace(r.Text, "Acme", "Bolt", 1))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(e.message, newer) || !bytes.Contains(e.message, []byte("Bolt")) || bytes.Contains(e.message, []byte("Acme")) {
				t.Errorf("the edited message is %q", e.message)
			}
		})
	}
}

// An unknown field of a close-out can't be matched with a close-out of the edited outcome.
func TestEditThatWouldLoseUnknownFieldsIsRefused(t *testing.T) {
	outcome := func() *tiebackv1.Outcome { return editable()[bus.Outcome].(*tiebackv1.Outcome) }
	closeOut, mark := outcome(), outcome()
	closeOut.CloseOuts[0].ProtoReflect().SetUnknown(newer)
	mark.CloseOuts[0].Marks[0].ProtoReflect().SetUnknown(newer)
	event := editable()[bus.Event].(*tiebackv1.Event)
	event.RequestedAt = timestamppb.Now()
	event.RequestedAt.ProtoReflect().SetUnknown(newer)
	for _, c := range []struct {
		kind bus.Kind
		m    proto.Message
		part string
	}{{bus.Outcome, closeOut, "close_outs"}, {bus.Outcome, mark, "close_outs"}, {bus.Event, event, "requested_at"}} {
		r := on(c.kind, "create_vendor", raw(t, c.m))
		e, err := r.Take(strings.Replace(r.Text, "Acme", "Bolt", 1))
		if !errors.Is(err, ErrInvalidEdit) || !strings.Contains(err.Error(), c.part) || !strings.Contains(err.Error(), "newer version") {
			t.Errorf("%s: %v, %v", c.part, e, err)
		}
	}
}

// A difference that a newer version stored may contain fields that this version does not show.
func TestDifferenceWithUnknownFieldsIsNotAppliedPartially(t *testing.T) {
	m := editable()[bus.Outcome]
	r := on(bus.Outcome, "create_vendor", slices.Concat(raw(t, m), newer))
	difference := "--- dead letter 3\n+++ edited\n@@ -1,4 +1,4 @@\n {\n   \"company_id\": \"7\",\n-  \"new_field\": \"from a newer version\",\n+  \"new_field\": \"edited\",\n"
	if got, err := reapply(r.on, r.data, difference); !errors.Is(err, errPatch) {
		t.Errorf("applied: %q, %v", got, err)
	}
}
