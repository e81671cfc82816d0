package tryton_test

import (
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Each refusal is permanent, with a field, and with a message that says what to do.
func TestRefusedByTryton(t *testing.T) {
	w := newWorld(t)
	paid := w.put(&tiebackv1.Record{Entity: commitment, Name: "C", JobOriginId: w.job, VendorOriginId: w.vendor,
		Lines: []*tiebackv1.Line{{Amount: "100"}}})
	bill := w.put(&tiebackv1.Record{Entity: requisition, ContractOriginId: paid.OriginId, Number: "INV-9", Lines: []*tiebackv1.Line{{Amount: "100"}}})
	code := unique("V")
	w.put(&tiebackv1.Record{Entity: vendor, Name: "Has it", Code: code})
	gone := w.put(&tiebackv1.Record{Entity: vendor, Name: "Gone"}).OriginId
	if err := w.remove(vendor, gone); err != nil {
		t.Fatal(err)
	}
	on := func(r *tiebackv1.Record, l *tiebackv1.Line) *tiebackv1.Record {
		r.Entity, r.JobOriginId, r.Lines = commitment, w.job, []*tiebackv1.Line{l}
		if r.VendorOriginId == "" {
			r.VendorOriginId = w.vendor
		}
		return r
	}
	for _, tt := range []struct {
		why         string
		r           *tiebackv1.Record
		field, says string
	}{
		{"a code that is taken", &tiebackv1.Record{Entity: vendor, Name: "B", Code: code}, "code", "vendor code"},
		{"a code of the job that is taken", &tiebackv1.Record{Entity: costCode, Name: "B", Code: "05-100", JobOriginId: w.job}, "code", "different code"},
		{"no name", &tiebackv1.Record{Entity: vendor}, "name", "has no name"},
		{"an unknown vendor", on(&tiebackv1.Record{VendorOriginId: "99999999"}, &tiebackv1.Line{Amount: "1"}), "vendor", "unknown in Tryton"},
		{"another's origin id", on(&tiebackv1.Record{VendorOriginId: "V-000001"}, &tiebackv1.Line{Amount: "1"}), "vendor", "unknown in Tryton"},
		{"a deleted vendor", on(&tiebackv1.Record{VendorOriginId: gone}, &tiebackv1.Line{Amount: "1"}), "vendor", "was deleted"},
		{"an unknown cost code", on(&tiebackv1.Record{}, &tiebackv1.Line{Amount: "1", CostCodeOriginId: "99999999"}), "cost_code", "on line 1"},
		{"more decimals than cents", on(&tiebackv1.Record{}, &tiebackv1.Line{Amount: "1.005"}), "amount", "2 decimals"},
		{"no amount", on(&tiebackv1.Record{}, &tiebackv1.Line{Amount: "1e3"}), "amount", "not a number"},
		{"an unknown currency", on(&tiebackv1.Record{Currency: "XTS"}, &tiebackv1.Line{Amount: "1"}), "currency", "no currency"},
		{"a tax code without an amount", on(&tiebackv1.Record{}, &tiebackv1.Line{Amount: "1", TaxCodeOriginId: "GST"}), "tax", "no tax amount"},
		{"retainage of a commitment", on(&tiebackv1.Record{}, &tiebackv1.Line{Amount: "1", Retainage: "0.10"}), "retainage", "Line 1"},
		{"tax of a payment", &tiebackv1.Record{Entity: payment, ParentOriginId: bill.OriginId, Amount: "1", TaxAmount: "0.10"}, "tax", "has a tax"},
		{"a retainage percent of an invoice", &tiebackv1.Record{Entity: requisition, ContractOriginId: paid.OriginId, Amount: "1", RetainagePercent: "10"}, "retainage", "10 percent"},
		{"a date without a fiscal year", &tiebackv1.Record{Entity: directCost, Name: "Old", Date: "1999-12-31", Amount: "1"}, "date", "fiscal year"},
		{"an unknown line of the contract", &tiebackv1.Record{Entity: requisition, ContractOriginId: paid.OriginId,
			Lines: []*tiebackv1.Line{{Amount: "1", ContractLineOriginId: "99999999"}}}, "contract_line", "unknown in Tryton"},
		{"more than is due", &tiebackv1.Record{Entity: payment, ParentOriginId: bill.OriginId, Amount: "100.01"}, "amount", "INV-9"},
		{"a payment of nothing known", &tiebackv1.Record{Entity: payment, Amount: "1"}, "requisition", "names no subcontractor invoice"},
		{"a change of a document", &tiebackv1.Record{Entity: commitment, OriginId: paid.OriginId}, "origin_id", "can't change it"},
		{"an insurance", &tiebackv1.Record{Entity: tiebackv1.Entity_ENTITY_INSURANCE, Name: "I"}, "", "takes no insurance"},
	} {
		_, err := w.driver.Put(t.Context(), w.request(tt.r))
		if fault.ClassOf(err) != fault.Permanent || fault.Field(err) != tt.field || !strings.Contains(fault.UserMessage(err, ""), tt.says) {
			t.Errorf("%s: %v, field %q, %q", tt.why, err, fault.Field(err), fault.UserMessage(err, ""))
		}
	}
	for _, tt := range []struct {
		entity       tiebackv1.Entity
		origin, says string
	}{{vendor, w.vendor, "depend"}, {job, w.job, "depend"}, {commitment, paid.OriginId, "requisition INV-9"}} {
		if err := w.remove(tt.entity, tt.origin); fault.ClassOf(err) != fault.Permanent || !strings.Contains(fault.UserMessage(err, ""), tt.says) {
			t.Errorf("remove %v: %v", tt.entity, err)
		}
	}
}

// The code of a removed record is free again. A removed assignment is booked again with the same id.
func TestRemovedAndPutAgain(t *testing.T) {
	w := newWorld(t)
	id := w.code + "|" + w.category
	for range 2 {
		b := w.put(&tiebackv1.Record{Entity: assignment, CostCodeOriginId: w.code, CategoryOriginId: w.category, JobOriginId: w.job})
		if b.OriginId != id || w.state(assignment, id) != present || w.state(jobCost, id) != present {
			t.Fatalf("%v: %v", b, w.state(assignment, id))
		}
		if err := w.remove(assignment, id); err != nil || w.state(assignment, id) != deleted || w.state(jobCost, id) != deleted {
			t.Fatalf("%v: %v", err, w.state(assignment, id))
		}
	}
	for _, r := range []*tiebackv1.Record{
		{Entity: vendor, Name: "V", Code: unique("V")}, {Entity: job, Name: "J", Code: unique("J")},
		{Entity: standard, Name: "S", Code: unique("S")}, {Entity: category, Name: "C", Code: unique("C")},
		{Entity: subJob, Name: "SJ", Code: unique("SJ"), JobOriginId: w.job},
	} {
		first := w.put(r).OriginId
		if err := w.remove(r.Entity, first); err != nil {
			t.Error(err)
		}
		r.ProcoreId = 0
		second := w.put(r).OriginId
		if second == first || w.state(r.Entity, first) != deleted || w.state(r.Entity, second) != present {
			t.Errorf("%v: %s then %s", r, first, second)
		}
	}
}

// A change leaves the fields that it does not have unchanged.
func TestChanges(t *testing.T) {
	w := newWorld(t)
	contact := &tiebackv1.Contact{Street: "1 Main St", City: "Austin", Zip: "78701", Phone: "+1 512 555 0100", Email: "a@example.com"}
	for _, r := range []*tiebackv1.Record{
		{Entity: vendor, Name: "A", Code: unique("V"), Contact: contact}, {Entity: job, Name: "A", Code: unique("J")},
		{Entity: subJob, Name: "A", Code: unique("S"), JobOriginId: w.job}, {Entity: costCode, Name: "A", Code: unique("C"), JobOriginId: w.job},
		{Entity: standard, Name: "A", Code: unique("S")}, {Entity: category, Name: "A", Code: unique("M")},
	} {
		b := w.put(r)
		_, cursor := w.list(r.Entity, "", 0)
		changed := &tiebackv1.Record{Entity: r.Entity, ProcoreId: r.ProcoreId, OriginId: b.OriginId, Name: "B", Code: r.Code, JobOriginId: r.JobOriginId}
		if r.Entity == vendor {
			changed.Contact = &tiebackv1.Contact{City: "Dallas", Email: "b@example.com"}
		}
		q := w.request(changed)
		q.Key, q.Request = unique("k"), 11
		if a, err := w.driver.Put(t.Context(), q); err != nil || a.Booking.OriginId != b.OriginId || a.Booking.OriginCode != r.Code {
			t.Fatalf("%v: %v", a, err)
		}
		got, _ := w.list(r.Entity, cursor, 0)
		c := got[b.OriginId]
		if len(got) != 1 || c == nil || c.Record.Name != "B" || c.Record.Code != r.Code || c.Record.ProcoreId != r.ProcoreId {
			t.Errorf("%v", got)
		}
		if r.Entity == vendor && (c.Record.Contact.City != "Dallas" || c.Record.Contact.Email != "b@example.com" || c.Record.Contact.Phone != contact.Phone) {
			t.Errorf("%v", c.Record.Contact)
		}
	}
}
