package exports_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker/workertest"
)

const (
	goodInvoice = `{"procore_requisition_id":%d,"request_detail_id":%d,"code":"%d","amount":"1","contract_origin_id":"WO"}`
	otherEvent  = `{"request_data":{"requisitions":[%s]}}`
)

// One malformed invoice does not prevent the booking of the others.
func TestMalformedInvoiceDoesNotAffectTheOthers(t *testing.T) {
	good := func(id int) string { return fmt.Sprintf(goodInvoice, id, 100+id, id) }
	for why, bad := range map[string]string{
		"an unknown line type": `{"procore_requisition_id":2,"request_detail_id":102,"code":"2","amount":"1","contract_origin_id":"WO","line_items":[{"procore_requisition_item_id":1,"requisition_item_type":"Billings::Else","amount":"1"}]}`,
		"a date in words":      `{"procore_requisition_id":2,"request_detail_id":102,"code":"2","amount":"1","contract_origin_id":"WO","billing_date":"soon"}`,
		"an id too large":      `{"procore_requisition_id":9223372036854775808,"request_detail_id":102,"code":"2","amount":"1","contract_origin_id":"WO"}`,
		"amount in words":      `{"procore_requisition_id":2,"request_detail_id":102,"code":"2","amount":"one","contract_origin_id":"WO"}`,
		"it is void":           `{"procore_requisition_id":2,"request_detail_id":102,"code":"2","amount":"1","contract_origin_id":"WO","status":"void"}`,
		"it is deleted":        `{"procore_requisition_id":2,"request_detail_id":102,"code":"2","amount":"1","contract_origin_id":"WO","deleted_at":"2026-11-01T00:00:00Z"}`,
		"lines that aren't":    `{"procore_requisition_id":2,"request_detail_id":102,"code":"2","amount":"1","contract_origin_id":"WO","line_items":7}`,
	} {
		e := &workertest.ERP{}
		out := must(t, "create_requisitions", fmt.Appendf(nil, otherEvent, good(1)+","+bad+","+good(3)), e)
		got := map[int64]tiebackv1.Status{}
		for _, c := range out {
			got[c.RequestDetailId] = c.Status
			if c.Status == tiebackv1.Status_STATUS_FAILED && (len(c.Messages) != 1 || c.Messages[0] == "") {
				t.Errorf("%s: messages %q", why, c.Messages)
			}
		}
		want := map[int64]tiebackv1.Status{101: tiebackv1.Status_STATUS_SUCCESS, 102: tiebackv1.Status_STATUS_FAILED, 103: tiebackv1.Status_STATUS_SUCCESS}
		if fmt.Sprint(got) != fmt.Sprint(want) || len(e.Puts) != 2 {
			t.Errorf("%s: %v, booked %v", why, got, e.Puts)
		}
	}
}

// The same for standard cost codes, whose payload is a list.
func TestMalformedStandardCostCodeDoesNotAffectTheOthers(t *testing.T) {
	e := &workertest.ERP{}
	out := must(t, "create_standard_cost_codes", []byte(`{"request_data":[{"id":1,"code":"1","name":"A","request_detail_id":11},{"id":1.5,"code":"2","name":"B","request_detail_id":12},{"id":3,"code":"3","name":"C","request_detail_id":13}]}`), e)
	if len(out) != 3 || out[0].Status != tiebackv1.Status_STATUS_SUCCESS || out[1].Status != tiebackv1.Status_STATUS_FAILED || out[2].Status != tiebackv1.Status_STATUS_SUCCESS || len(e.Puts) != 2 {
		t.Errorf("%v, booked %v", out, e.Puts)
	}
}

// A deleted standard cost code is removed before the code that replaced it is booked.
func TestDeletedStandardCostCodeIsRemovedBeforeItsSuccessor(t *testing.T) {
	e := &workertest.ERP{}
	e.Refuse = func(r *tiebackv1.Record) error {
		if r.ProcoreId == 2 && len(e.Removed) == 0 {
			return fault.Refused("code", "The code 1 is already used.")
		}
		return nil
	}
	out := must(t, "create_standard_cost_codes", []byte(`{"request_data":[{"id":2,"code":"1","name":"B","request_detail_id":12},{"id":3,"code":"1-1","name":"C","parent_id":1,"parent_origin_id":"S-1","request_detail_id":13},
		{"id":1,"code":"1","name":"A","origin_id":"S-1","request_detail_id":11,`+deletedAt+`}]}`), e)
	if len(out) != 3 || len(e.Puts) != 2 || fmt.Sprint(e.Removed) != "[S-1]" || e.Puts[1].ParentOriginId != "" {
		t.Errorf("%v, booked %v, removed %v", out, e.Puts, e.Removed)
	}
	for _, c := range out {
		if c.Status != tiebackv1.Status_STATUS_SUCCESS {
			t.Errorf("%v", c)
		}
	}
}

// A payment that was voided, rejected, returned or the like is not booked.
func TestVoidPaymentIsNotBooked(t *testing.T) {
	sample := workertest.Samples(t)["create_payment"]
	for _, status := range []string{"voided", "Void", "cancelled", "canceled", "failed", "rejected", "declined", "returned", "reversed", "refunded"} {
		raw := workertest.Edit(t, sample, `"status":"paid"`, fmt.Sprintf(`"status":%q`, status))
		e := &workertest.ERP{Linked: links()}
		out := must(t, "create_payment", raw, e)
		if len(e.Puts) > 0 || len(out) != 1 || out[0].Status != tiebackv1.Status_STATUS_FAILED || !strings.Contains(out[0].Messages[0], fmt.Sprintf("its status in Procore is %q", status)) {
			t.Errorf("%s: %v, booked %v", status, out, e.Puts)
		}
		e = &workertest.ERP{Linked: links()}
		must(t, "create_payment", sample, e)
		out = must(t, "create_payment", raw, e)
		if len(e.Puts) != 1 || len(e.Removed) > 0 || !strings.Contains(out[0].Messages[0], "It is still in your ERP system, as E-1: void or reverse it there.") {
			t.Errorf("%s, after it was booked: %v, booked %v, removed %v", status, out, e.Puts, e.Removed)
		}
	}
}

func TestVoidDocumentsAreNotBooked(t *testing.T) {
	samples := workertest.Samples(t)
	for event, edit := range map[string][2]string{
		"create_commitment":                  {`"status":"Approved"`, `"status":"Void"`},
		"create_commitment_change_order":     {`"contract_id"`, `"status":"void","contract_id"`},
		"create_payment_application":         {`"status":"approved"`, `"status":"void"`},
		"create_prime_contract_change_order": {`"status":"approved"`, `"status":"rejected"`},
		"create_company_level_direct_cost":   {`"status":"approved"`, `"status":"rejected"`},
	} {
		raw := samples[event]
		if event == "create_commitment_change_order" {
			raw = []byte(`{"request_data":{"request_detail_id":1,"commitment":{"id":1,"origin_id":"C"},"change_order":{"id":2,"status":"void","grand_total":"0"}}}`)
		} else {
			raw = workertest.Edit(t, raw, edit[0], edit[1])
		}
		e := &workertest.ERP{Linked: links()}
		out := must(t, event, raw, e)
		if len(e.Puts) > 0 || out[0].Status != tiebackv1.Status_STATUS_FAILED {
			t.Errorf("%s: %v, booked %v", event, out, e.Puts)
		}
	}
}

const deletedAt = `"deleted_at":"2026-11-01T00:00:00Z"`

// jobOf returns the payload of a job with these cost codes.
func jobOf(codes ...string) []byte {
	return fmt.Appendf(nil, `{"request_detail_id":2,"request_data":{"job":{"id":7,"name":"J","origin_id":"JOB"},"all_cost_codes":[%s]}}`, strings.Join(codes, ","))
}

// A deleted cost code is not booked; the code that replaced it is.
func TestDeletedCostCodeIsNotBooked(t *testing.T) {
	const old, successor = `{"id":1,"full_code":"01-100","name":"A",` + deletedAt + `}`, `{"id":2,"full_code":"01-100","name":"B","deleted_at":null}`
	e := &workertest.ERP{}
	out := must(t, "create_or_update_job", jobOf(old, successor), e)
	if len(out) != 1 || out[0].Status != tiebackv1.Status_STATUS_SUCCESS || len(e.Puts) != 2 || e.Puts[1].ProcoreId != 2 || len(e.Removed) > 0 {
		t.Errorf("%v, booked %v, removed %v", out, e.Puts, e.Removed)
	}
}

// A deleted cost code that is linked is removed from the ERP before the code that replaced it is booked.
func TestDeletedLinkedCostCodeIsRemovedFromTheERP(t *testing.T) {
	const old, successor = `{"id":1,"origin_id":"CC-1","full_code":"01-100","name":"A",` + deletedAt + `}`, `{"id":2,"full_code":"01-100","name":"B"}`
	e := &workertest.ERP{}
	e.Refuse = func(r *tiebackv1.Record) error {
		if r.ProcoreId == 2 && len(e.Removed) == 0 {
			return fault.Refused("code", "The code 01-100 is already used.")
		}
		return nil
	}
	out := must(t, "create_or_update_job", jobOf(successor, old), e)
	if len(out) != 1 || out[0].Status != tiebackv1.Status_STATUS_SUCCESS || fmt.Sprint(e.Removed) != "[CC-1]" || len(e.NextGenerations) != 1 || len(out[0].Links) != 1 || out[0].Links[0].OriginId != "" {
		t.Errorf("%v, removed %v, next generations %v", out, e.Removed, e.NextGenerations)
	}
	if len(e.Puts) != 2 || e.Puts[1].ProcoreId != 2 {
		t.Errorf("booked %v", e.Puts)
	}
}

// A deleted cost code that the ERP can't remove is deactivated and stays linked.
func TestDeletedCostCodeWithBookingsIsDeactivated(t *testing.T) {
	e := &workertest.ERP{RefuseRemove: fault.Permanentf("An invoice depends on it.")}
	out := must(t, "create_or_update_job", jobOf(`{"id":1,"origin_id":"CC-1","full_code":"01-100","name":"A",`+deletedAt+`}`), e)
	if len(out) != 1 || out[0].Status != tiebackv1.Status_STATUS_SUCCESS || len(e.Puts) != 2 || !e.Puts[1].Inactive || e.Puts[1].OriginId != "CC-1" || e.Puts[1].JobOriginId != "JOB" || len(e.NextGenerations) > 0 {
		t.Errorf("%v, booked %v, next generations %v", out, e.Puts, e.NextGenerations)
	}
}

// The children of a deleted cost code are exported without a parent.
func TestChildOfADeletedCostCodeHasNoParent(t *testing.T) {
	e := &workertest.ERP{}
	out := must(t, "create_or_update_job", jobOf(`{"id":1,"full_code":"1","name":"A",`+deletedAt+`}`, `{"id":2,"full_code":"1-010","name":"B","parent":{"id":1}}`), e)
	if len(out) != 1 || out[0].Status != tiebackv1.Status_STATUS_SUCCESS || len(e.Puts) != 2 || e.Puts[1].ParentOriginId != "" {
		t.Errorf("%v, booked %v", out, e.Puts)
	}
}

// No record with deleted_at is exported.
func TestDeletedRecordsAreNotExported(t *testing.T) {
	for event, object := range map[string]string{
		"create_vendor":                      `"vendor":{"id":1,"name":"A",%s}`,
		"create_or_update_job":               `"job":{"id":1,"name":"A",%s},"all_cost_codes":[{"id":2,"full_code":"1","name":"B"}]`,
		"create_sub_job":                     `"sub_job":{"id":1,"name":"A",%s,"project":{"id":7,"origin_id":"J"}},"all_cost_codes":[]`,
		"create_budget":                      `"budget":{"id":1,"project_id":7,%s},"job_id":"J"`,
		"create_commitment":                  `"commitment":{"id":1,"type":"WorkOrderContract","grand_total":"0",%s}`,
		"create_commitment_change_order":     `"commitment":{"id":7,"origin_id":"C"},"change_order":{"id":1,"grand_total":"0",%s}`,
		"create_prime_contract_change_order": `"prime_contract":{"id":7,"origin_id":"C"},"prime_contract_change_order":{"id":1,"grand_total":"0",%s}`,
		"create_payment_application":         `"payment_application":{"id":1,"summary":{"current_payment_due":"0"},%s}`,
		"create_payment":                     `"contract_payment":{"id":1,"amount":"1",%s}`,
		"create_company_level_direct_cost":   `"direct_cost":{"id":"1","line_item_total":"0",%s}`,
	} {
		raw := fmt.Appendf(nil, `{"request_data":{"request_detail_id":5,`+object+`}}`, deletedAt)
		e := &workertest.ERP{}
		out := must(t, event, raw, e)
		if len(e.Puts) > 0 || len(out) != 1 || out[0].Status != tiebackv1.Status_STATUS_FAILED || !strings.Contains(out[0].Messages[0], "is deleted in Procore, so it was not exported") {
			t.Errorf("%s: %v, booked %v", event, out, e.Puts)
		}
		e = &workertest.ERP{}
		raw = fmt.Appendf(nil, `{"request_data":{"request_detail_id":5,`+object+`}}`, deletedAt+`,"origin_id":"X-1"`)
		out = must(t, event, raw, e)
		if len(e.Puts) > 0 || fmt.Sprint(e.Removed) != "[X-1]" || out[0].Status != tiebackv1.Status_STATUS_SUCCESS || len(e.NextGenerations) != 1 {
			t.Errorf("%s, linked: %v, booked %v, removed %v", event, out, e.Puts, e.Removed)
		}
	}
}

// A deleted line is not booked.
func TestDeletedLinesAreNotBooked(t *testing.T) {
	e := &workertest.ERP{}
	must(t, "create_commitment", []byte(`{"request_data":{"request_detail_id":5,"commitment":{"id":1,"type":"WorkOrderContract","grand_total":"1.00","vendor":{"origin_id":"V"}},
		"commitment_items":[{"id":2,"amount":"1.00"},{"id":3,"amount":"9.00",`+deletedAt+`}]}}`), e)
	if len(e.Puts) != 1 || len(e.Puts[0].Lines) != 1 || e.Puts[0].Lines[0].ProcoreId != 2 {
		t.Errorf("booked %v", e.Puts)
	}
}

// A change order of a deleted contract is refused.
func TestChangeOrderOfADeletedContractIsRefused(t *testing.T) {
	for event, object := range map[string]string{
		"create_commitment_change_order":     `"commitment":{"id":7,"origin_id":"C",%s},"change_order":{"id":1,"grand_total":"0"}`,
		"create_prime_contract_change_order": `"prime_contract":{"id":7,"origin_id":"C",%s},"prime_contract_change_order":{"id":1,"grand_total":"0"}`,
	} {
		e := &workertest.ERP{}
		out := must(t, event, fmt.Appendf(nil, `{"request_data":{"request_detail_id":5,`+object+`}}`, deletedAt), e)
		if len(e.Puts) > 0 || out[0].Status != tiebackv1.Status_STATUS_FAILED || !strings.Contains(out[0].Messages[0], "contract is deleted in Procore") && !strings.Contains(out[0].Messages[0], "commitment is deleted in Procore") {
			t.Errorf("%s: %v, booked %v", event, out, e.Puts)
		}
	}
}
