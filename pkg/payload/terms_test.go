package payload

import (
	"fmt"
	"strings"
	"testing"
)

// The record has the tax, retainage and currency that Procore publishes.
func TestTaxRetainageAndCurrency(t *testing.T) {
	const cad = `{"currency_iso_code":"CAD","base_currency_iso_code":"USD","currency_exchange_rate":"0.7"}`
	d := sample(t, "create_commitment", "commitment.retainage_percent", `"10.0"`, "commitment.currency_configuration", cad,
		"commitment_items.0.tax_amount", `"12.50"`, "commitment_items.0.tax_code", `{"id":2,"origin_id":"GST"}`, "commitment_items.0.tax_code_id", "2")
	if l := d.Record.Lines[0]; d.Record.RetainagePercent != "10.0" || d.Record.Currency != "CAD" || l.TaxAmount != "12.50" || l.TaxCodeOriginId != "GST" || d.Refusal != nil {
		t.Errorf("commitment %v, refused %v", d.Record, d.Refusal)
	}
	d = sample(t, "create_commitment_change_order", "commitment.currency_configuration", cad, "change_order_items.0.tax_amount", `"1"`)
	if d.Record.Currency != "CAD" || d.Record.Lines[0].TaxAmount != "1" || d.Refusal != nil {
		t.Errorf("change order %v, refused %v", d.Record, d.Refusal)
	}
	d = sample(t, "create_requisitions", "requisitions.0.line_items.0.tax_code_origin_id", `"GST"`, "requisitions.0.currency_configuration", `{"currency_iso_code":"cad"}`,
		"requisitions.0.summary", `{"tax_applicable_to_this_payment":"107.80"}`)
	if l := d.Record.Lines[0]; d.Record.Currency != "CAD" || d.Record.TaxAmount != "107.80" || l.TaxCodeOriginId != "GST" || l.TaxAmount != "" || d.Refusal != nil {
		t.Errorf("invoice %v, refused %v", d.Record, d.Refusal)
	}
	const app = "payment_application."
	d = sample(t, "create_payment_application", app+"currency_configuration", cad, app+"summary.tax_applicable_to_this_payment", "8", app+"summary.current_payment_due", "98",
		app+"items.0.work_completed_this_period", "100", app+"items.0.work_completed_retainage_retained_this_period", "10", app+"items.0.work_completed_retainage_percent_this_period", "10")
	if l := d.Record.Lines[0]; d.Record.Currency != "CAD" || d.Record.TaxAmount != "8" || l.Retainage != "10" || l.RetainagePercent != "10" || d.Refusal != nil {
		t.Errorf("application %v, refused %v", d.Record, d.Refusal)
	}
	d = sample(t, "create_payment", "contract_payment.currency_configuration", cad)
	if d.Record.Currency != "CAD" {
		t.Errorf("payment %v", d.Record)
	}
	d = sample(t, "create_budget", "job_costs.0.currency_configuration", cad)
	if d.Record.Currency != "CAD" {
		t.Errorf("budget %v", d.Record)
	}
	if d = sample(t, "create_company_level_direct_cost"); d.Record.Currency != "USD" {
		t.Errorf("direct cost %v", d.Record)
	}
}

// A tax code that the payload names only by Procore's id is looked up. It is left out if the tax amount is
// known.
func TestTaxCodeIsLookedUp(t *testing.T) {
	find := func(d Document) *Ref {
		for _, ref := range d.Refs {
			if ref.ItemTypes[0] == "tax_code" {
				return &ref
			}
		}
		return nil
	}
	d := sample(t, "create_prime_contract_change_order")
	ref := find(d)
	if ref == nil || ref.ItemID != 2 || ref.Missing != "" || ref.Field != &d.Record.Lines[0].TaxCodeOriginId {
		t.Errorf("with a tax amount: %+v", ref)
	}
	ref = find(sample(t, "create_commitment", "commitment_items.0.tax_amount", "null", "commitment_items.0.tax_code_id", "2"))
	if ref == nil || !strings.Contains(ref.Missing, `Line 1 of commitment "WOC 1 (QB)" has a tax code that is not in your ERP system`) {
		t.Errorf("without a tax amount: %+v", ref)
	}
	const untaxed = `{"id":1,"summary":%s,"items":[{"id":2,"accounting_method":"unit","work_completed_this_period":100,"tax_code_id":5}]}`
	for summary, known := range map[string]bool{`{"tax_applicable_to_this_payment":"10.0"}`: true, `{}`: false} {
		docs := []Document{
			read1(t, PaymentApplication, fmt.Sprintf(`{"request_data":{"payment_application":`+untaxed+`}}`, summary)),
			read1(t, Requisitions, fmt.Sprintf(`{"request_data":{"requisitions":[{"procore_requisition_id":1,"summary":%s,"line_items":[
				{"procore_requisition_item_id":2,"requisition_item_type":"Billings::ContractItem","amount":"100.0","tax_code_id":5}]}]}}`, summary)),
		}
		for _, d := range docs {
			ref := find(d)
			if ref == nil || (ref.Missing == "") != known || d.Refusal != nil || (d.Record.TaxAmount == "10.0") != known {
				t.Errorf("with the summary %s: %+v, %v, refused %v", summary, ref, d.Record, d.Refusal)
			}
		}
	}
	if ref = find(sample(t, "create_commitment")); ref != nil {
		t.Errorf("without a tax code: %+v", ref)
	}
}

func TestContradictingTaxOrCurrencyIsRefused(t *testing.T) {
	refused(t, sample(t, "create_requisitions", "requisitions.0.line_items.0.tax_amount", "10", "requisitions.0.summary", `{"tax_applicable_to_this_payment":"11.00"}`),
		"tax_amount", `subcontractor invoice "9348"`, "11.00", "10")
	refused(t, sample(t, "create_company_level_direct_cost", "direct_cost.currency_configuration", `{"currency_iso_code":"CAD"}`),
		"currency", `direct cost "INV-001"`, "line 1 is in USD", "CAD")
	refused(t, sample(t, "create_commitment", "commitment.currency_configuration", `{"currency_iso_code":"dollars"}`), "currency", "DOLLARS")
}
