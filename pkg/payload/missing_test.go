package payload

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/catalogue/dictionary"
	"github.com/tieback/tieback/pkg/fault"
)

// sample reads a published sample after replacing some of its values: path, value, path, value … A path is
// "commitment_items.0.amount", below request_data. A value is JSON; "" removes the field.
func sample(t *testing.T, eventType string, replace ...string) Document {
	t.Helper()
	raw, ok := dictionary.Sample(eventType)
	if !ok {
		t.Fatalf("no event type %q", eventType)
	}
	all, err := decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	top := all.top.(map[string]any)
	for i := 0; i+1 < len(replace); i += 2 {
		set(t, top["request_data"], strings.Split(replace[i], "."), replace[i+1])
	}
	raw, err = json.Marshal(top)
	if err != nil {
		t.Fatal(err)
	}
	return read1(t, decoders[eventType], string(raw))
}

func set(t *testing.T, v any, path []string, value string) {
	t.Helper()
	if list, isList := v.([]any); isList {
		var i int
		if _, err := fmt.Sscan(path[0], &i); err != nil || i >= len(list) {
			t.Fatalf("no %q in the list", path[0])
		}
		set(t, list[i], path[1:], value)
		return
	}
	o, isObject := v.(map[string]any)
	switch {
	case !isObject:
		t.Fatalf("nothing at %v", path)
	case len(path) > 1:
		set(t, o[path[0]], path[1:], value)
	case value == "":
		delete(o, path[0])
	default:
		o[path[0]] = json.RawMessage(value)
	}
}

// refused checks that a document is refused with a message that contains all the words.
func refused(t *testing.T, d Document, field string, words ...string) {
	t.Helper()
	if d.Refusal == nil {
		t.Errorf("booked %v", d.Record)
		return
	}
	message := fault.UserMessage(d.Refusal, "")
	if fault.ClassOf(d.Refusal) != fault.Permanent || fault.Field(d.Refusal) != field {
		t.Errorf("%v, field %q, want permanent and %q: %s", fault.ClassOf(d.Refusal), fault.Field(d.Refusal), field, message)
	}
	for _, w := range words {
		if !strings.Contains(message, w) {
			t.Errorf("%q does not say %q", message, w)
		}
	}
}

func TestSamplesAreNotRefused(t *testing.T) {
	for name := range decoders {
		if d := sample(t, name); d.Refusal != nil {
			t.Errorf("%s: %v", name, d.Refusal)
		}
	}
}

// A missing amount that has no published alternative is refused.
func TestMissingAmountIsRefused(t *testing.T) {
	const app, item, cost = "payment_application.items.0.", "prime_contract_change_order_items.0.", "direct_cost.line_items.0."
	for _, tt := range []struct {
		why, event string
		replace    []string
		field      string
		words      []string
	}{
		{"commitment line", "create_commitment", []string{"commitment_items.0.amount", "null", "commitment_items.0.extended_amount", "null", "commitment_items.0.total_amount", ""},
			"amount", []string{`commitment "WOC 1 (QB)"`, "line 1 has no amount"}},
		{"a total that may or may not include tax", "create_commitment", []string{"commitment_items.0.amount", "null", "commitment_items.0.extended_amount", "null", "commitment_items.0.total_amount", `"270.0"`, "commitment_items.0.tax_amount", `"20.0"`},
			"amount", []string{`commitment "WOC 1 (QB)"`, "line 1 has no amount"}},
		{"a total that may include tax", "create_commitment", []string{"commitment_items.0.amount", "null", "commitment_items.0.extended_amount", "null", "commitment_items.0.tax_amount", "null", "commitment_items.0.tax_code_id", "2"},
			"amount", []string{`commitment "WOC 1 (QB)"`, "line 1 has no amount"}},
		{"two amounts that differ", "create_commitment", []string{"commitment_items.0.amount", "null", "commitment_items.0.total_amount", `"270.0"`},
			"amount", []string{`commitment "WOC 1 (QB)"`, "line 1", "250.0", "270.0"}},
		{"commitment without lines and total", "create_commitment", []string{"commitment_items", "[]", "commitment.grand_total", "null"},
			"amount", []string{`commitment "WOC 1 (QB)"`, "neither lines nor a total"}},
		{"commitment change order line", "create_commitment_change_order", []string{"change_order_items.0.amount", "null", "change_order_items.0.extended_amount", "null", "change_order_items.0.total_amount", "null"},
			"amount", []string{"line 1 has no amount"}},
		{"prime contract change order line", "create_prime_contract_change_order", []string{"prime_contract_change_order_items.0.amount", "null", "prime_contract_change_order_items.0.extended_amount", "null"},
			"amount", []string{"line 1 has no amount"}},
		{"markup", "create_prime_contract_change_order", []string{"prime_contract_change_order_items.0.markup_line_items.0.amount", "null"},
			"amount", []string{"the markup on line 1 has no amount"}},
		{"invoice line", "create_requisitions", []string{"requisitions.0.line_items.1.amount", "null"},
			"amount", []string{`subcontractor invoice "9348"`, "line 2 has no amount"}},
		{"invoice without lines", "create_requisitions", []string{"requisitions.0.line_items", "[]"},
			"amount", []string{`subcontractor invoice "9348"`, "neither lines nor a total"}},
		{"an invoice line's retainage", "create_requisitions", []string{"requisitions.0.line_items.0.retainage_this_period", "null", "requisitions.0.line_items.0.retainage_work_completed_this_period", "null", "requisitions.0.line_items.0.released_work_completed_this_period", `"4.0"`},
			"retainage_this_period", []string{`subcontractor invoice "9348"`, "line 1 has no retainage"}},
		{"payment", "create_payment", []string{"contract_payment.amount", "null"}, "amount", []string{`payment "12"`, "it has no amount"}},
		{"direct cost line", "create_company_level_direct_cost", []string{"direct_cost.line_items.0.total_amount", "null", "direct_cost.line_items.0.quantity", "null"},
			"total_amount", []string{`direct cost "INV-001"`, "line 1 has no total amount"}},
		{"direct cost line with tax", "create_company_level_direct_cost", []string{"direct_cost.line_items.0.tax_amount", `"50.0"`, "direct_cost.line_items.0.extended_type", `"manual"`},
			"tax_amount", []string{`direct cost "INV-001"`, "line 1", "1000.0", "50"}},
		{"budget transaction", "update_budget", []string{"transactions.0.value", "null"}, "value", []string{"transaction 1 has no value"}},
		{"budget line", "create_budget", []string{"transactions", "[]", "job_costs.0.new_amount", "null"}, "new_amount", []string{"line 1 has no new amount"}},
		{"work of an application", "create_payment_application", []string{app + "work_completed_this_period", "null"},
			"work_completed_this_period", []string{`payment application "123"`, "line 1 has no work completed this period"}},
		{"materials of an application", "create_payment_application", []string{app + "materials_presently_stored", "null", app + "new_materials", "null"},
			"materials_presently_stored", []string{"line 1 has no materials presently stored"}},
		{"earlier materials of an application", "create_payment_application", []string{app + "materials_presently_stored_from_previous_application", "null"},
			"materials_presently_stored_from_previous_application", []string{"line 1 has no materials presently stored from previous application"}},
		{"retainage of an application", "create_payment_application", []string{app + "work_completed_this_period", "100", app + "work_completed_retainage_retained_this_period", "null", app + "work_completed_retainage_percent_this_period", "10"},
			"work_completed_retainage_retained_this_period", []string{"line 1 has no work completed retainage retained this period"}},
		{"retainage of an application's new materials", "create_payment_application", []string{app + "materials_presently_stored", "null", app + "new_materials", "7", app + "materials_stored_retainage_retained_this_period", "null", app + "materials_stored_retainage_percent_this_period", "10"},
			"materials_stored_retainage_retained_this_period", []string{"line 1 has no materials stored retainage retained this period"}},
		{"retainage of an application's earlier materials", "create_payment_application", []string{app + "materials_presently_stored_from_previous_application", "7", app + "materials_stored_retainage_retained_this_period", "null", app + "materials_stored_retainage_percent_this_period", "10"},
			"materials_stored_retainage_retained_this_period", []string{"line 1 has no materials stored retainage retained this period"}},
		{"a total that may or may not include markup", "create_prime_contract_change_order", []string{item + "amount", "null", item + "extended_amount", "null", item + "total_amount", `"343.85"`, item + "tax_amount", `"0.0"`},
			"amount", []string{"line 1 has no amount", "343.85", "44.85"}},
		{"direct cost line with a tax code and no tax amount", "create_company_level_direct_cost", []string{cost + "tax_code_origin_id", `"GST"`, cost + "total_amount", `"1100.0"`, "direct_cost.line_item_total", `"1100.0"`, "direct_cost.billed_amount", `"1100.0"`},
			"tax_amount", []string{`direct cost "INV-001"`, "line 1 has a tax code, but no tax amount"}},
		{"the same without quantity", "create_company_level_direct_cost", []string{cost + "tax_code_id", "7", cost + "quantity", "null"},
			"tax_amount", []string{`direct cost "INV-001"`, "line 1 has a tax code, but no tax amount"}},
	} {
		t.Run(tt.why, func(t *testing.T) { refused(t, sample(t, tt.event, tt.replace...), tt.field, tt.words...) })
	}
}

func TestMissingAmountIsTakenFromAPublishedAlternative(t *testing.T) {
	const app, item = "payment_application.items.0.", "prime_contract_change_order_items.0."
	for _, tt := range []struct {
		why, event string
		replace    []string
		line, all  string
	}{
		{"extended amount", "create_commitment", []string{"commitment_items.0.amount", "null"}, "250.0", "250"},
		{"extended amount, with a total that includes tax", "create_commitment", []string{"commitment_items.0.amount", "null", "commitment_items.0.total_amount", `"270.0"`, "commitment_items.0.tax_amount", `"20.0"`}, "250.0", "250"},
		{"total without tax", "create_commitment", []string{"commitment_items.0.amount", "null", "commitment_items.0.extended_amount", ""}, "250.0", "250"},
		{"extended amount with a markup", "create_prime_contract_change_order", []string{item + "amount", "null"}, "299.0", "343.85"},
		{"direct cost: amount", "create_company_level_direct_cost", []string{"direct_cost.line_items.0.total_amount", "null", "direct_cost.line_items.0.amount", `"1000.00"`}, "1000.00", "1000"},
		{"direct cost: quantity and unit cost", "create_company_level_direct_cost", []string{"direct_cost.line_items.0.total_amount", "null"}, "1000", "1000"},
		{"direct cost: the total includes tax", "create_company_level_direct_cost", []string{"direct_cost.line_items.0.total_amount", `"1050.0"`, "direct_cost.line_items.0.tax_amount", "50", "direct_cost.line_item_total", `"1050.0"`, "direct_cost.billed_amount", `"1050.0"`}, "1000", "1000"},
		{"direct cost: tax code, and a total without tax", "create_company_level_direct_cost", []string{"direct_cost.line_items.0.tax_code_origin_id", `"GST"`}, "1000", "1000"},
		{"direct cost: tax code, and a tax of zero", "create_company_level_direct_cost", []string{"direct_cost.line_items.0.tax_code_origin_id", `"GST"`, "direct_cost.line_items.0.tax_amount", "0", "direct_cost.line_items.0.quantity", "null"}, "1000.0", "1000"},
		{"total without markup", "create_prime_contract_change_order", []string{item + "amount", "null", item + "extended_amount", "null", item + "tax_amount", `"0.0"`, item + "markup_line_items", "[]"}, "299.0", "299"},
		{"stored materials", "create_payment_application", []string{app + "materials_presently_stored", "null", app + "new_materials", "7", app + "stored_materials", "5", "payment_application.summary.current_payment_due", "12"}, "12", "12"},
		{"billed by units: no materials", "create_payment_application", []string{app + "accounting_method", `"unit"`, app + "materials_presently_stored", "null", app + "materials_presently_stored_from_previous_application", "null"}, "0", "0"},
		{"budget: the transactions are booked", "update_budget", []string{"job_costs.0.new_amount", "null"}, "33.33", ""},
	} {
		t.Run(tt.why, func(t *testing.T) {
			d := sample(t, tt.event, tt.replace...)
			if d.Refusal != nil || d.Record.Lines[0].Amount != tt.line || d.Record.Amount != tt.all {
				t.Errorf("%v, refused %v", d.Record, d.Refusal)
			}
		})
	}
	if l := sample(t, "create_requisitions", "requisitions.0.line_items.0.retainage_this_period", "null").Record.Lines[0]; l.Retainage != "10" {
		t.Errorf("retainage %q", l.Retainage)
	}
}

func TestTotalsMustAgreeWithTheLines(t *testing.T) {
	const app = "payment_application."
	for _, tt := range []struct {
		why, event string
		replace    []string
		field      string   // "": agrees
		words      []string // both numbers
	}{
		{"commitment", "create_commitment", []string{"commitment.grand_total", `"260.0"`}, "grand_total", []string{`commitment "WOC 1 (QB)"`, "grand total", "260.0", "250"}},
		{"commitment, less than its lines", "create_commitment", []string{"commitment.grand_total", `"0.0"`}, "grand_total", []string{"0.0", "250"}},
		{"commitment, total with tax", "create_commitment", []string{"commitment.grand_total", `"270.0"`, "commitment_items.0.tax_amount", "20"}, "", nil},
		{"commitment, total without tax", "create_commitment", []string{"commitment_items.0.tax_amount", "20"}, "", nil},
		{"commitment, no total", "create_commitment", []string{"commitment.grand_total", "null"}, "", nil},
		{"commitment, total and no lines", "create_commitment", []string{"commitment_items", "[]"}, "", nil},
		{"commitment change order", "create_commitment_change_order", []string{"change_order.grand_total", `"250.0"`}, "grand_total", []string{"250.0", "233"}},
		{"prime contract change order, without its markup", "create_prime_contract_change_order", []string{"prime_contract_change_order.grand_total", `"299.0"`}, "grand_total", []string{"299.0", "343.85", "12.71"}},
		{"prime contract change order", "create_prime_contract_change_order", []string{"prime_contract_change_order.grand_total", `"343.85"`}, "", nil},
		{"direct cost", "create_company_level_direct_cost", []string{"direct_cost.line_item_total", `"999.99"`}, "line_item_total", []string{`direct cost "INV-001"`, "999.99", "1000"}},
		{"direct cost, billed", "create_company_level_direct_cost", []string{"direct_cost.billed_amount", `"1100.0"`}, "billed_amount", []string{"1100.0", "1000"}},
		{"direct cost, not billed", "create_company_level_direct_cost", []string{"direct_cost.billed_amount", `"0.0"`}, "", nil},
		{"application", "create_payment_application", []string{app + "items.0.work_completed_this_period", "100", app + "summary.current_payment_due", "110"}, "current_payment_due", []string{"110", "100"}},
		{"application, less retainage", "create_payment_application", []string{app + "items.0.work_completed_this_period", "100", app + "items.0.work_completed_retainage_retained_this_period", "10", app + "summary.current_payment_due", "90"}, "", nil},
		{"application, with earlier periods", "create_payment_application", []string{app + "items.0.work_completed_from_previous_application", "50", app + "summary.less_previous_certificates_for_payment", "50", app + "summary.current_payment_due", "1"}, "current_payment_due", []string{"1", "0"}},
		{"application, earlier periods that were paid differently", "create_payment_application", []string{app + "items.0.work_completed_from_previous_application", "50", app + "summary.less_previous_certificates_for_payment", "45", app + "summary.current_payment_due", "5"}, "", nil},
	} {
		t.Run(tt.why, func(t *testing.T) {
			d := sample(t, tt.event, tt.replace...)
			switch {
			case tt.field != "":
				refused(t, d, tt.field, tt.words...)
			case d.Refusal != nil:
				t.Errorf("refused: %v", d.Refusal)
			}
		})
	}
}

// A refusal affects one document: the other invoice of the event is booked.
func TestRefusalAffectsOneDocument(t *testing.T) {
	q, err := Parse([]byte(`{"request_data":{"requisitions":[
		{"procore_requisition_id":1,"line_items":[{"procore_requisition_item_id":3,"requisition_item_type":"Billings::ContractItem","amount":null}]},
		{"procore_requisition_id":2,"line_items":[{"procore_requisition_item_id":4,"requisition_item_type":"Billings::ContractItem","amount":"5"}]}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	docs, err := Requisitions(q)
	if err != nil || docs[0].Refusal == nil || docs[1].Refusal != nil || docs[1].Record.Amount != "5" {
		t.Errorf("%v, error %v", docs, err)
	}
}

// A percentage of retainage is a setting of the line. It withholds nothing if the line has no amount to
// withhold from.
func TestRetainageIsOptionalWithoutAnAmountToWithholdFrom(t *testing.T) {
	const app = "payment_application.items.0."
	units := []string{app + "accounting_method", `"unit"`, app + "work_completed_this_period", "100", app + "work_completed_retainage_percent_this_period", "10", app + "work_completed_retainage_retained_this_period", "10",
		app + "materials_presently_stored", "null", app + "materials_presently_stored_from_previous_application", "null",
		app + "materials_stored_retainage_percent_this_period", "10", app + "materials_stored_retainage_retained_this_period", "null", "payment_application.summary.current_payment_due", "90"}
	if d := sample(t, "create_payment_application", units...); d.Refusal != nil || d.Record.Lines[0].Retainage != "10" {
		t.Errorf("without materials: %v, refused %v", d.Record, d.Refusal)
	}
	d := sample(t, "create_payment_application", app+"work_completed_retainage_percent_this_period", "10", app+"work_completed_retainage_retained_this_period", "null")
	if d.Refusal != nil || d.Record.Lines[0].Retainage != "0" {
		t.Errorf("without work: %v, refused %v", d.Record, d.Refusal)
	}
}

// A document whose lines are all deleted is not booked with its total.
func TestDocumentWithOnlyDeletedLinesIsRefused(t *testing.T) {
	const gone = `"2026-01-01T00:00:00Z"`
	for event, line := range map[string]string{
		"create_commitment":                  "commitment_items.0.",
		"create_commitment_change_order":     "change_order_items.0.",
		"create_prime_contract_change_order": "prime_contract_change_order_items.0.",
		"create_company_level_direct_cost":   "direct_cost.line_items.0.",
		"create_payment_application":         "payment_application.items.0.",
		"create_requisitions":                "",
	} {
		replace := []string{line + "deleted_at", gone}
		switch event {
		case "create_requisitions":
			replace = []string{"requisitions.0.amount", `"5.0"`, "requisitions.0.line_items", `[{"procore_requisition_item_id":2,"requisition_item_type":"Billings::ContractItem","amount":"5","deleted_at":` + gone + `}]`}
		case "create_prime_contract_change_order":
			replace = append(replace, "prime_contract_change_order.grand_total", `"5.0"`)
		}
		t.Run(event, func(t *testing.T) { refused(t, sample(t, event, replace...), "lines", "all its lines are deleted") })
	}
}

// Procore rounds to cents: a difference of half a cent per line is accepted.
func TestTotalsMayDifferByHalfACentPerLine(t *testing.T) {
	const item, cost, all = "commitment_items.0.", "direct_cost.line_items.0.", "direct_cost."
	for _, tt := range []struct {
		why, event string
		replace    []string
		field      string // "": agrees
		line       string
	}{
		{"quantity times unit cost", "create_company_level_direct_cost", []string{cost + "quantity", `"3.333"`, cost + "unit_cost", `"1.25"`, cost + "tax_amount", `"0.42"`, cost + "total_amount", `"4.59"`, all + "line_item_total", `"4.59"`, all + "billed_amount", `"4.59"`}, "", "4.17"},
		{"a cent more", "create_company_level_direct_cost", []string{cost + "quantity", `"3.333"`, cost + "unit_cost", `"1.25"`, cost + "tax_amount", `"0.42"`, cost + "total_amount", `"4.60"`}, "total_amount", ""},
		{"tax of a line", "create_commitment", []string{item + "amount", `"100.00"`, item + "tax_amount", `"8.246"`, "commitment.grand_total", `"108.25"`}, "", "100.00"},
		{"half a cent", "create_commitment", []string{item + "amount", `"100.005"`, "commitment.grand_total", `"100.00"`}, "", "100.005"},
		{"more than half a cent", "create_commitment", []string{item + "amount", `"100.0051"`, "commitment.grand_total", `"100.00"`}, "grand_total", ""},
		{"extended amount and total", "create_commitment", []string{item + "amount", "null", item + "extended_amount", `"100.00"`, item + "tax_amount", `"8.246"`, item + "total_amount", `"108.25"`, "commitment.grand_total", `"108.25"`}, "", "100.00"},
		{"tax of an application", "create_payment_application", []string{"payment_application.items.0.tax_amount", `"8.246"`, "payment_application.summary.tax_applicable_to_this_payment", "8.25"}, "", "0"},
		{"tax of an application, more than half a cent", "create_payment_application", []string{"payment_application.items.0.tax_amount", `"8.246"`, "payment_application.summary.tax_applicable_to_this_payment", "8.26"}, "tax_amount", ""},
	} {
		t.Run(tt.why, func(t *testing.T) {
			d := sample(t, tt.event, tt.replace...)
			switch {
			case tt.field != "":
				refused(t, d, tt.field)
			case d.Refusal != nil || d.Record.Lines[0].Amount != tt.line:
				t.Errorf("%v, refused %v", d.Record, d.Refusal)
			}
		})
	}
	two := `{"request_data":{"commitment":{"id":1,"type":"WorkOrderContract","grand_total":%q},"commitment_items":[{"id":2,"amount":"1.004"},{"id":3,"amount":"1.004"}]}}`
	if d := read1(t, Commitment, fmt.Sprintf(two, "2.00")); d.Refusal != nil {
		t.Errorf("two lines: %v", d.Refusal)
	}
	refused(t, read1(t, Commitment, fmt.Sprintf(two, "2.02")), "grand_total")
}
