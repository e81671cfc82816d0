package sandbox

import "strings"

// recordsUnder has the kind of the records under a key of a payload. kindIn refines the kinds commitment and
// requisition_item.
var recordsUnder = map[string]string{
	"vendor": "vendor", "vendors": "vendor", "master_vendor": "vendor", "source_vendors": "vendor",
	"job": "project", "project": "project", "projects": "project", "sub_job": "sub_job",
	"all_cost_codes": "cost_code", "cost_codes": "cost_code", "cost_code": "cost_code", "destination_cost_code": "cost_code",
	"project_cost_code_data_array": "cost_code",
	"line_item_types":              "line_item_type", "line_item_type": "line_item_type", "destination_line_item_type": "line_item_type",
	"request_data": "standard_cost_code", "standard_cost_codes": "standard_cost_code", "standard_cost_code_data_array": "standard_cost_code",
	"budget": "budget", "job_costs": kindJobCost, "transactions": kindTransaction,
	"commitment": "commitment", "commitment_items": "line_item", "change_order": "change_order", "change_order_items": "line_item",
	"prime_contract": "prime_contract", "prime_contract_items": "line_item", "prime_line_item": "line_item",
	"prime_contract_change_order": "change_order", "prime_contract_change_order_items": "line_item",
	"prime_contract_change_order_line_items": "line_item", "markup_line_items": "markup",
	"payment_application": "payment_application", "items": "payment_application_line_item",
	"contract_payment": "contract_payment", "direct_cost": "company_level_direct_cost",
}

// kindOf returns the kind of the record that an object under a key is, or "" if it is not a record.
func kindOf(key string, o map[string]any) string {
	if _, has := o["id"]; !has {
		return ""
	}
	if key == "request_data" && o["standard_cost_code_list_id"] == nil {
		return ""
	}
	return kindIn(recordsUnder[key], o)
}

// kindIn refines a kind by the fields of the object.
func kindIn(kind string, o map[string]any) string {
	switch kind {
	case "commitment":
		return commitmentKind(text(o["type"]) + text(o["commitment_type"]))
	case "requisition_item":
		return requisitionItemKind(text(o["requisition_item_type"]))
	}
	return kind
}

func commitmentKind(published string) string {
	if strings.HasPrefix(strings.ToLower(published), "purchase") {
		return "purchase_order_contract"
	}
	return "work_order_contract"
}

func requisitionItemKind(published string) string {
	switch {
	case strings.HasSuffix(published, "ContractDetailItem"):
		return "requisition_contract_detail_item"
	case strings.HasSuffix(published, "ChangeOrderItem"):
		return "requisition_change_order_item"
	}
	return "requisition_contract_item"
}

// referenceKinds has the kind of the record that an id field refers to.
var referenceKinds = map[string]string{
	"company_id": "company", "standard_cost_code_list_id": "standard_cost_code_list",
	"project_id": "project", "procore_project_id": "project", "procore_sub_job_id": "sub_job",
	"cost_code_id": "cost_code", "line_item_type_id": "line_item_type", "standard_cost_code_id": "standard_cost_code", "parent_id": "standard_cost_code",
	"commitment_line_item_id": "line_item", "prime_line_item_id": "line_item", "prime_contract_item_id": "line_item", "procore_prime_contract_item_id": "line_item",
	"requisition_id": "requisition", "vendor_id": "vendor", "direct_cost_id": "company_level_direct_cost", "job_cost_id": kindJobCost,
	"procore_prime_contract_id": "prime_contract", "tax_code_id": "tax_code",
	"user_id": "person", "payment_id": "invoice_payment",
}

// refersTo returns the kind of the record that an id field of an object under a key refers to. The ids of the kinds
// "person" and "" are kept. A field that the tables do not have refers to a kind of its own.
func refersTo(under, field string, o map[string]any) string {
	switch field {
	case "id":
		return idUnder(under, o)
	case "biller_id":
		return map[string]string{"Project": "project", "SubJob": "sub_job"}[text(o["biller_type"])]
	case "holder_id":
		return holderKind(text(o["holder_type"]))
	case "contract_id":
		if under == "prime_contract_change_order" {
			return "prime_contract"
		}
		return "work_order_contract"
	case "project_id":
		if _, internal := o["procore_project_id"]; internal {
			return "erp_job"
		}
	}
	if kind := referenceKinds[field]; kind != "" {
		return kind
	}
	return strings.TrimSuffix(field, "_id")
}

func idUnder(under string, o map[string]any) string {
	switch under {
	case "company":
		return "company"
	case "created_by", "":
		return "person"
	case "parent":
		return "cost_code"
	case "holder":
		return holderKind(text(o["holder_type"]))
	case "request_data":
		return "" // an origin id in sync_single_job and sync_sub_job
	}
	return "own_" + under
}

func holderKind(published string) string {
	switch published {
	case "PrimeContract":
		return "prime_contract"
	case "PotentialChangeOrder":
		return "change_order"
	}
	return commitmentKind(published)
}
