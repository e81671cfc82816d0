package sandbox

// parentPaths has the records of payloads and the paths of their parents. The lists of a project or contract need them.
var parentPaths = []struct {
	at     string // path of the objects
	id     string // path of an object's id, from the object
	kind   string
	parent string // path of the parent's id; "": none
}{
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

// setParents sets the unknown projects and parents of the records in a payload. The caller holds the company's lock.
func (co *company) setParents(payload map[string]any) {
	for _, b := range parentPaths {
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
				id, _ := parseID(m)
				if markup := co.find("markup", id); markup != nil {
					markup.parent = r.id
				}
			}
		}
	}
}

// projectOf returns the project of a record in a payload: its own, otherwise that of its contract, otherwise that of the
// payload.
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
