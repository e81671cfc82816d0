package payload

import (
	"fmt"
	"testing"
)

func read1(t *testing.T, decode func(Request) ([]Document, error), raw string) Document {
	t.Helper()
	q, err := Parse([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	docs, err := decode(q)
	if err != nil {
		t.Fatal(err)
	}
	return docs[0]
}

// The money of a budget is in its lines once.
func TestBudgetIsBookedOnce(t *testing.T) {
	const cost, change = `{"id":4,"new_amount":44.45,"cost_code_origin_id":"cc"}`, `{"id":1,"value":33.33,"job_cost_id":4}`
	for _, tt := range []struct {
		why, origin, transactions string
		lines                     int
		kind, amount              string
	}{
		{"the changes are booked", `null`, change, 1, "erp_transaction", "33.33"},
		{"later changes too", `"B"`, change, 1, "erp_transaction", "33.33"},
		{"without changes, the first time: the totals", `null`, ``, 1, "", "44.45"},
		{"without changes, later: everything is booked already", `"B"`, ``, 0, "", ""},
	} {
		d := read1(t, Budget, fmt.Sprintf(`{"request_data":{"job_id":"J","budget":{"id":1,"project_id":2,"origin_id":%s},"job_costs":[%s],"transactions":[%s]}}`, tt.origin, cost, tt.transactions))
		if len(d.Record.Lines) != tt.lines || d.Record.Amount != "44.45" {
			t.Errorf("%s: %v", tt.why, d.Record)
			continue
		}
		if tt.lines == 1 && (d.Record.Lines[0].Kind != tt.kind || d.Record.Lines[0].Amount != tt.amount || d.Record.Lines[0].CostCodeOriginId != "cc") {
			t.Errorf("%s: %v", tt.why, d.Record.Lines[0])
		}
	}
}

// An item's amount includes its markups, unless the extended amount shows that it does not.
func TestMarkupsAreBookedOnce(t *testing.T) {
	for _, tt := range []struct{ why, amount, extended, line, total string }{
		{"as published", "343.85", "299.0", "299", "343.85"},
		{"markup on top", "299.0", "299.0", "299.0", "343.85"},
		{"no extended amount", "343.85", "", "299", "343.85"},
	} {
		d := read1(t, PrimeContractChangeOrder, fmt.Sprintf(`{"request_data":{"prime_contract":{"id":1},"prime_contract_change_order":{"id":2},"prime_contract_change_order_items":[
			{"id":3,"amount":%q,"extended_amount":%q,"markup_line_items":[{"id":4,"amount":"44.85"}]}]}}`, tt.amount, tt.extended))
		if d.Record.Lines[0].Amount != tt.line || d.Record.Lines[1].Amount != "44.85" || d.Record.Amount != tt.total {
			t.Errorf("%s: %v", tt.why, d.Record)
		}
	}
}

func TestRetainageIsReducedByReleases(t *testing.T) {
	for _, tt := range []struct{ why, held, work, stored, before, released, want string }{
		{"nothing released: as written", "10.0", "10.0", "0.0", "0.0", "0.0", "10.0"},
		{"the sum is before the release", "10.0", "10.0", "0.0", "0.0", "4.0", "6"},
		{"the sum is after the release", "6.0", "10.0", "0.0", "0.0", "4.0", "6.0"},
		{"materials that moved out", "7.0", "10.0", "2.0", "5.0", "1.0", "6"},
	} {
		r := &reader{}
		got := r.retainage(Object{
			"retainage_this_period": tt.held, "retainage_work_completed_this_period": tt.work, "retainage_materials_presently_stored": tt.stored,
			"retainage_materials_previously_stored": tt.before, "released_work_completed_this_period": tt.released,
		}, 1)
		if got != tt.want || r.err != nil || r.refusal != nil {
			t.Errorf("%s: %s, error %v", tt.why, got, r.err)
		}
	}
}

func TestPaymentApplicationBillsThePeriod(t *testing.T) {
	d := read1(t, PaymentApplication, `{"request_data":{"payment_application":{"id":1,"items":[{"id":2,
		"work_completed_this_period":100.10,"materials_presently_stored":30,"materials_presently_stored_from_previous_application":50.05,
		"work_completed_retainage_retained_this_period":10,"materials_stored_retainage_released_this_period":"2.5"}]}}}`)
	if l := d.Record.Lines[0]; l.Amount != "80.05" || l.Retainage != "7.5" || d.Record.Amount != "80.05" {
		t.Errorf("%v", d.Record)
	}
}

func TestParentsFirst(t *testing.T) {
	codes := []Object{{"id": "3", "parent": "2"}, {"id": "2", "parent": "1"}, {"id": "1"}, {"id": "8", "parent": "9"}, {"id": "9", "parent": "8"}}
	var order []int64
	for _, o := range parentsFirst(codes, func(o Object) int64 { return o.ID("parent") }) {
		order = append(order, o.ID("id"))
	}
	if fmt.Sprint(order) != "[1 2 3 8 9]" {
		t.Errorf("order %v", order)
	}
}
