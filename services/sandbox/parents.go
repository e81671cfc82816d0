package sandbox

// belongings say what the records of a payload belong to, where the payload shows it: the
// lists need to know. A place is a path as in at; id is where an object at it has its own id.
var belongings = []struct{ at, id, kind, parent string }{
	{"request_data.sub_job", "id", "sub_job", ""},
	{"request_data.commitment", "id", "commitment", ""},
	{"request_data.commitment_items[]", "id", "line_item", "request_data.commitment.id"},
	{"request_data.change_order", "id", "change_order", "request_data.commitment.id"},
	{"request_data.change_order_items[]", "id", "line_item", "request_data.change_order.id"},
	{"request_data.requisitions[]", "procore_requisition_id", "requisition", ""},
	{"request_data.contract_payment", "id", "contract_payment", "request_data.contract_payment.contract_id"},
	{"request_data.prime_contract", "id", "prime_contract", ""},
	{"request_data.prime_contract_items[]", "id", "line_item", "request_data.prime_contract.id"},
	{"request_data.prime_contract_change_order", "id", "change_order", "request_data.prime_contract.id"},
	{"request_data.prime_contract_change_order_items[]", "id", "line_item", "request_data.prime_contract_change_order.id"},
	{"request_data.payment_application", "id", "payment_application", "request_data.payment_application.items[].holder_id"},
}

// settle notes the project and the parent of each record that a pressed payload shows, unless
// it is known already; under the company's lock.
func (co *company) settle(payload map[string]any) {
	for _, b := range belongings {
		for _, v := range at(payload, b.at) {
			o, _ := v.(map[string]any)
			r := co.find(kindIn(b.kind, o), GetID(o, b.id))
			if r == nil {
				continue
			}
			if b.parent != "" && r.parent == 0 {
				r.parent = GetID(payload, b.parent)
			}
			if r.project == 0 {
				r.project = co.projectOf(o, r, payload)
			}
			for _, m := range at(o, "markup_line_items[].id") {
				id, _ := asID(m)
				if markup := co.find("markup", id); markup != nil {
					markup.parent = r.id
				}
			}
		}
	}
}

// projectOf is the project that a payload's record says it is of, or else its contract's, or else
// the payload's.
func (co *company) projectOf(o map[string]any, r *record, payload map[string]any) int64 {
	for _, path := range []string{"project.id", "project_id"} {
		if id := GetID(o, path); id != 0 {
			return id
		}
	}
	if contract := co.contract(r.parent); contract != nil && contract.project != 0 {
		return contract.project
	}
	for _, origin := range []any{o["job_origin_id"], Get(payload, "request_data.job_origin_id"), Get(payload, "request_data.job_id")} {
		if project := co.byOrigin("project", text(origin)); project != nil {
			return project.id
		}
	}
	return projectOf(payload)
}
