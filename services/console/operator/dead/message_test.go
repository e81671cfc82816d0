package dead

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func raw(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// on returns a draft of a message of company 7, request 12.
func on(kind bus.Kind, eventType string, data []byte) *Draft {
	s := bus.For(kind, eventType, 7, 12)
	return &Draft{DeadLetter: request.DeadLetter{ID: 3, DeadLetter: &tiebackv1.DeadLetter{}}, Text: text(s, data), on: s, data: data}
}

// Large ids and trailing zeros survive an edit.
func TestEditKeepsNumbersAsWritten(t *testing.T) {
	payload := []byte(`{"id":12,"amount":1200.50,"big":598134325841112598,"request_data":{"name":"Acme","sum":1e3}}`)
	when := timestamppb.New(time.Unix(1_700_000_000, 0))
	d := on(bus.Event, "create_vendor", raw(t, &tiebackv1.Event{CompanyId: 7, ErpRequestId: 12, Type: "create_vendor", RequestedAt: when, Payload: payload}))
	e, err := d.Take(strings.Replace(d.Text, "Acme", "Bolt", 1))
	if err != nil {
		t.Fatal(err)
	}
	event := &tiebackv1.Event{}
	if err := proto.Unmarshal(e.message, event); err != nil {
		t.Fatal(err)
	}
	if want := bytes.Replace(payload, []byte("Acme"), []byte("Bolt"), 1); !bytes.Equal(event.Payload, want) || !proto.Equal(event.RequestedAt, when) {
		t.Errorf("the event is %v, want the payload %s", event, want)
	}
}

// An edited outcome must keep its request and its request details.
func TestEditedOutcomeMustNotCloseOtherDetails(t *testing.T) {
	o := &tiebackv1.Outcome{CompanyId: 7, ErpRequestId: 12, Type: "create_vendor", CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: 1001, Status: tiebackv1.Status_STATUS_SUCCESS}}}
	o.RequestedAt = timestamppb.New(time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC))
	d := on(bus.Outcome, "create_vendor", raw(t, o))
	if e, err := d.Take(strings.Replace(d.Text, "SUCCESS", "FAILED", 1)); err != nil || e.Difference == "" {
		t.Errorf("a change of the status: %v", err)
	}
	for mistake, edited := range map[string]string{
		"another detail":  strings.Replace(d.Text, "1001", "1002", 1),
		"another request": strings.Replace(d.Text, `"12"`, `"13"`, 1),
		"another time":    strings.Replace(d.Text, "10:00:00Z", "10:00:01Z", 1),
		"no time":         strings.Replace(d.Text, `"2026-12-01T10:00:00Z"`, "null", 1),
		"an unknown word": strings.Replace(d.Text, "status", "statu", 1),
	} {
		if _, err := d.Take(edited); !errors.Is(err, ErrInvalidEdit) {
			t.Errorf("%s was taken: %v", mistake, err)
		}
	}
}

// The text of a message never changes, as stored differences are applied to it.
func TestMessageTextIsStable(t *testing.T) {
	data := raw(t, &tiebackv1.Delivery{CompanyId: 7, ErpRequestId: 12, EventId: "x", ApiVersion: "v4.0"})
	s := bus.For(bus.Delivery, "", 7, 12)
	if got, want := text(s, data), "{\n  \"companyId\": \"7\",\n  \"erpRequestId\": \"12\",\n  \"eventId\": \"x\",\n  \"apiVersion\": \"v4.0\"\n}\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzEdit checks for any message and any edited text: an accepted edit is a valid message, and its difference
// reproduces it.
func FuzzEdit(f *testing.F) {
	f.Add([]byte{0xff, 0}, `{"request_data":{}}`, 0)
	f.Add(raw(f, &tiebackv1.Event{CompanyId: 7, ErpRequestId: 12, Type: "create_vendor", Payload: []byte(`{"id":12}`)}), `{"id":"12", "x": [1.0]}`, 1)
	f.Add(raw(f, &tiebackv1.Outcome{CompanyId: 7, ErpRequestId: 12}), `{"companyId":7,"erpRequestId":"12"}`, 2)
	f.Fuzz(func(t *testing.T, data []byte, edited string, kind int) {
		d := on([]bus.Kind{bus.Delivery, bus.Event, bus.Outcome}[uint(kind)%3], "create_vendor", data) //nolint:gosec // any will do
		e, err := d.Take(edited)
		if err != nil || e.Difference == "" {
			return
		}
		if err := check(d.on, e.message); err != nil {
			t.Errorf("the accepted message is not valid: %v", err)
		}
		if again, err := reapply(d.on, d.data, e.Difference); err != nil || !bytes.Equal(again, e.message) {
			t.Errorf("the difference gives %q, want %q (%v)", again, e.message, err)
		}
	})
}
