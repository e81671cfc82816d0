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

// newer is what a newer version may write behind what this one knows.
var newer = protowire.AppendString(protowire.AppendTag(nil, 900, protowire.BytesType), "from a newer version")

// whole are the messages that can be edited, each with a text of its own to be replaced.
func whole() map[bus.Kind]proto.Message {
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

// While two versions run side by side, an operator's may be the older one.
func TestAnEditKeepsTheFieldsOfANewerVersion(t *testing.T) {
	for kind, m := range whole() {
		t.Run(string(kind), func(t *testing.T) {
			r := on(kind, typeOf(kind), slices.Concat(raw(t, m), newer))
			if strings.Contains(r.Text, "newer") {
				t.Fatalf("it is known after all: %s", r.Text)
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

// Nobody can tell which close-out of an edited outcome a field belonged to.
func TestAnEditThatWouldLoseANewerVersionsFieldsIsRefused(t *testing.T) {
	outcome := func() *tiebackv1.Outcome { return whole()[bus.Outcome].(*tiebackv1.Outcome) }
	closeOut, mark := outcome(), outcome()
	closeOut.CloseOuts[0].ProtoReflect().SetUnknown(newer)
	mark.CloseOuts[0].Marks[0].ProtoReflect().SetUnknown(newer)
	event := whole()[bus.Event].(*tiebackv1.Event)
	event.RequestedAt = timestamppb.Now()
	event.RequestedAt.ProtoReflect().SetUnknown(newer)
	for _, c := range []struct {
		kind bus.Kind
		m    proto.Message
		part string
	}{{bus.Outcome, closeOut, "close_outs"}, {bus.Outcome, mark, "close_outs"}, {bus.Event, event, "requested_at"}} {
		r := on(c.kind, "create_vendor", raw(t, c.m))
		e, err := r.Take(strings.Replace(r.Text, "Acme", "Bolt", 1))
		if !errors.Is(err, ErrEdit) || !strings.Contains(err.Error(), c.part) || !strings.Contains(err.Error(), "newer version") {
			t.Errorf("%s: %v, %v", c.part, e, err)
		}
	}
}

// A difference that a newer version kept may name fields that this version can't show.
func TestANewerVersionsDifferenceIsNotAppliedByHalves(t *testing.T) {
	m := whole()[bus.Outcome]
	r := on(bus.Outcome, "create_vendor", slices.Concat(raw(t, m), newer))
	difference := "--- letter 3\n+++ edited\n@@ -1,4 +1,4 @@\n {\n   \"company_id\": \"7\",\n-  \"new_field\": \"from a newer version\",\n+  \"new_field\": \"edited\",\n"
	if got, err := redo(r.on, r.data, difference); !errors.Is(err, errPatch) {
		t.Errorf("redone: %q, %v", got, err)
	}
}
