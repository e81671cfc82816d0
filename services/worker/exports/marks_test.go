package exports_test

import (
	"fmt"
	"testing"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker/workertest"
)

// Cases that the samples lack: records that were booked and are deleted, and the other item types.
func TestMarksOfDeletedRecordsAndOtherItemTypes(t *testing.T) {
	const booked = `"origin_id":"X-1",` + deletedAt
	const code = `"all_cost_codes":[{"id":2,"full_code":"1","name":"A",` + booked + `}]`
	const items = `{"procore_requisition_item_id":2,"requisition_item_type":"Billings::ContractItem","amount":"1.00"},
		{"procore_requisition_item_id":3,"requisition_item_type":"Billings::ContractDetailItem","amount":"2.00"},
		{"procore_requisition_item_id":4,"requisition_item_type":"Billings::ChangeOrderItem","amount":"3.00"}`
	for _, c := range []struct{ what, event, data string }{
		{"deleted", "create_standard_cost_codes", `[{"id":1,"code":"1","name":"A","request_detail_id":5,` + booked + `}]`},
		{"deleted", "create_vendor", `"vendor":{"id":1,"name":"A",` + booked + `}`},
		{"deleted", "create_or_update_job", `"job":{"id":1,"name":"A",` + booked + `},"all_cost_codes":[]`},
		{"deleted_code", "create_or_update_job", `"job":{"id":1,"name":"A","origin_id":"J-1"},` + code},
		{"deleted", "create_sub_job", `"sub_job":{"id":1,"name":"A",` + booked + `,"project":{"id":7,"origin_id":"J"}},"all_cost_codes":[]`},
		{"deleted_code", "create_sub_job", `"sub_job":{"id":1,"name":"A","origin_id":"J-1","project":{"id":7,"origin_id":"J"}},` + code},
		{"deleted", "create_budget", `"budget":{"id":1,"project_id":7,` + booked + `},"job_id":"J"`},
		{"deleted", "update_budget", `"budget":{"id":1,"project_id":7,` + booked + `},"job_id":"J"`},
		{"deleted", "create_requisitions", `"requisitions":[{"procore_requisition_id":1,"code":"1","amount":"1","contract_origin_id":"WO",` + booked + `}]`},
		{"each_item", "create_requisitions", `"requisitions":[{"procore_requisition_id":1,"code":"1","amount":"6.00","contract_origin_id":"WO","line_items":[` + items + `]}]`},
		{"deleted", "create_payment", `"contract_payment":{"id":1,"amount":"1",` + booked + `}`},
		{"deleted", "create_commitment", `"commitment":{"id":1,"type":"WorkOrderContract","grand_total":"0",` + booked + `}`},
		{"deleted_order", "create_commitment", `"commitment":{"id":1,"type":"PurchaseOrderContract","grand_total":"0",` + booked + `}`},
		{"order", "create_commitment", `"commitment":{"id":1,"type":"PurchaseOrderContract","grand_total":"0","vendor":{"origin_id":"V"}}`},
		{"deleted", "create_commitment_change_order", `"commitment":{"id":7,"origin_id":"C"},"change_order":{"id":1,"grand_total":"0",` + booked + `}`},
		{"deleted", "create_prime_contract_change_order", `"prime_contract":{"id":7,"origin_id":"C"},"prime_contract_change_order":{"id":1,"grand_total":"0",` + booked + `}`},
		{"deleted", "create_payment_application", `"payment_application":{"id":1,"summary":{"current_payment_due":"0"},` + booked + `}`},
		{"deleted", "create_company_level_direct_cost", `"direct_cost":{"id":"1","line_item_total":"0",` + booked + `}`},
	} {
		name := c.what + "_" + c.event
		t.Run(name, func(t *testing.T) {
			data := c.data
			if data[0] != '[' {
				data = `{"request_detail_id":5,` + data + `}`
			}
			e := &workertest.ERP{}
			out := must(t, c.event, fmt.Appendf(nil, `{"request_data":%s}`, data), e)
			for _, o := range out {
				if o.Status != tiebackv1.Status_STATUS_SUCCESS {
					t.Errorf("failed: %v", o.Messages)
				}
			}
			workertest.Golden(t, name, e, &workertest.Procore{}, out)
		})
	}
}
