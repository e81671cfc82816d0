package scenario_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tieback/tieback/pkg/catalogue"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/sandbox"
)

// erpBooks is a minimal ERP.
type erpBooks struct {
	mu      sync.Mutex
	n       int
	records map[string]*tiebackv1.Record
	gone    map[string]bool
	codes   map[string]bool // of jobs
}

func newERP() *erpBooks {
	return &erpBooks{records: map[string]*tiebackv1.Record{}, gone: map[string]bool{}, codes: map[string]bool{}}
}

func (e *erpBooks) origin() string {
	e.n++
	return fmt.Sprintf("E-%d", e.n)
}

func (e *erpBooks) Add(_ context.Context, r *tiebackv1.Record) (*tiebackv1.Record, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r.OriginId = e.origin()
	for _, l := range r.GetLines() {
		l.OriginId = e.origin()
	}
	if r.GetEntity() == tiebackv1.Entity_ENTITY_JOB {
		e.codes[r.GetCode()] = true
	}
	e.records[r.GetOriginId()] = r
	return r, nil
}

func (e *erpBooks) Delete(_ context.Context, _ tiebackv1.Entity, origin string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone[origin] = true
	delete(e.records, origin)
	return nil
}

func (e *erpBooks) of(entity tiebackv1.Entity) []*tiebackv1.Record {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []*tiebackv1.Record
	for _, r := range e.records {
		if r.GetEntity() == entity {
			out = append(out, r)
		}
	}
	return out
}

// pipeline is a minimal pipeline.
type pipeline struct {
	t      *testing.T
	sb     *sandbox.Sandbox
	erp    *erpBooks
	api    string
	client *http.Client
	token  string
	early  bool // close out before the external data is set

	mu   sync.Mutex
	seen map[int64]bool
	wg   sync.WaitGroup
}

func (p *pipeline) login() {
	resp, err := p.client.PostForm(p.api+"/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"c"}, "client_secret": {"s"}})
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var body struct {
		Token string `json:"access_token"`
	}
	_ = json.NewDecoder(resp.Body).Decode(&body)
	p.token = body.Token
}

func (p *pipeline) receive(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer hush" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var body struct {
		ResourceID any `json:"resource_id"`
	}
	dec := json.NewDecoder(r.Body)
	dec.UseNumber()
	_ = dec.Decode(&body)
	id, _ := strconv.ParseInt(fmt.Sprint(body.ResourceID), 10, 64)
	p.mu.Lock()
	first := !p.seen[id]
	p.seen[id] = true
	p.mu.Unlock()
	if first {
		p.wg.Go(func() { p.process(id) })
	}
}

func (p *pipeline) call(method, path string, body any) map[string]any {
	var raw []byte
	if body != nil {
		raw, _ = json.Marshal(body)
	}
	req, _ := http.NewRequest(method, p.api+"/rest/v1.0"+path, bytes.NewReader(raw))
	req.Header.Set("Authorization", "Bearer "+p.token)
	req.Header.Set("Procore-Company-Id", "7")
	resp, err := p.client.Do(req)
	if err != nil {
		p.t.Error(err)
		return nil
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	if resp.StatusCode >= 300 || strings.Contains(string(answer), `"errors":[{`) {
		p.t.Errorf("%s %s: %d %s", method, path, resp.StatusCode, answer)
	}
	var out map[string]any
	dec := json.NewDecoder(bytes.NewReader(answer))
	dec.UseNumber()
	_ = dec.Decode(&out)
	return out
}

func (p *pipeline) process(id int64) {
	payload := p.call("GET", fmt.Sprintf("/companies/7/erp_requests/%d", id), nil)
	row, known := catalogue.Lookup(fmt.Sprint(payload["request_name"]))
	why := ""
	switch {
	case !known:
		why = "unknown"
		p.sb.ReportDeadLettered(id)
	case row.Category == catalogue.Export && p.early:
	case row.Category == catalogue.Export:
		why = p.export(row, payload)
	case row.Category == catalogue.Unlink:
		why = p.unlink(row, payload)
	case row.Category == catalogue.Sync:
		p.sync(row)
	}
	p.closeOut(payload, why)
	p.sb.ReportClosed(id)
}

func (p *pipeline) closeOut(v any, why string) {
	status, messages := "success", []string{}
	if why != "" {
		status, messages = "failed", []string{why}
	}
	each(v, func(o map[string]any) {
		if id, has := o["request_detail_id"]; has {
			p.call("PATCH", fmt.Sprintf("/companies/7/erp_request_details/%v", id), map[string]any{"request_detail": map[string]any{"status": status, "messages": messages}})
		}
	})
}

func each(v any, f func(map[string]any)) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			each(one, f)
		}
	case map[string]any:
		f(v)
		for _, one := range v {
			each(one, f)
		}
	}
}

func (p *pipeline) export(row catalogue.EventType, payload map[string]any) string {
	raw, _ := json.Marshal(payload)
	if strings.Contains(string(raw), "V-UNKNOWN") {
		return "The vendor is not in your ERP system."
	}
	if why := unclear(payload); why != "" {
		return why
	}
	if _, isText := sandbox.Get(payload, "request_data.vendor").(string); isText {
		return "malformed"
	}
	if row.Name == "create_or_update_job" {
		code := fmt.Sprint(sandbox.Get(payload, "request_data.job.origin_code"))
		p.erp.mu.Lock()
		taken := p.erp.codes[code]
		p.erp.codes[code] = true
		p.erp.mu.Unlock()
		if taken {
			return "The code is taken."
		}
	}
	for _, m := range row.Marks {
		p.mark(m, payload)
	}
	p.assignments(payload)
	for _, tr := range list(payload, "request_data.transactions") {
		p.call("PATCH", "/erp_transactions/sync", map[string]any{"project_id": sandbox.Get(payload, "request_data.budget.project_id"),
			"updates": []any{map[string]any{"id": tr["id"], "origin_id": p.next(), "synced": true}}})
	}
	return ""
}

// unclear returns why the amount of a commitment is unclear, or "".
func unclear(payload map[string]any) string {
	if sandbox.Get(payload, "request_data.change_order") != nil {
		return ""
	}
	total := sandbox.Get(payload, "request_data.commitment.grand_total")
	for _, item := range list(payload, "request_data.commitment_items") {
		switch {
		case item["amount"] == nil:
			return "line 1 has no amount"
		case total != item["amount"]:
			return fmt.Sprintf("its grand total in Procore is %v", total)
		}
	}
	return ""
}

func (p *pipeline) next() string {
	p.erp.mu.Lock()
	defer p.erp.mu.Unlock()
	return p.erp.origin()
}

func list(payload map[string]any, path string) []map[string]any {
	var out []map[string]any
	values, _ := sandbox.Get(payload, path).([]any)
	for _, v := range values {
		o, _ := v.(map[string]any)
		out = append(out, o)
	}
	return out
}

// walk calls f for the objects that have the last field of a path.
func walk(v any, parts []string, f func(map[string]any, string)) {
	o, isObject := v.(map[string]any)
	if !isObject {
		return
	}
	if len(parts) == 1 {
		f(o, parts[0])
		return
	}
	name, isList := strings.CutSuffix(parts[0], "[]")
	if !isList {
		walk(o[name], parts[1:], f)
		return
	}
	values, _ := o[name].([]any)
	for _, one := range values {
		walk(one, parts[1:], f)
	}
}

func (p *pipeline) mark(m catalogue.Mark, payload map[string]any) {
	walk(payload, strings.Split(m.ItemIDAt, "."), func(o map[string]any, field string) {
		kind := m.ItemType
		if strings.Contains(kind, "commitment.type") {
			kind = map[any]string{"WorkOrderContract": "work_order_contract", "PurchaseOrderContract": "purchase_order_contract"}[o["type"]]
		} else if strings.Contains(kind, "requisition_item_type") {
			kind = "requisition_contract_item"
		}
		p.call("PATCH", "/companies/7/external_data/sync", map[string]any{"updates": []any{map[string]any{"item_type": kind, "item_id": o[field], "origin_id": p.next()}}})
	})
}

func (p *pipeline) assignments(payload map[string]any) {
	for _, cc := range list(payload, "request_data.all_cost_codes") {
		for _, t := range list(map[string]any{"c": cc}, "c.line_item_types") {
			query := fmt.Sprintf("?project_id=%v", sandbox.Get(payload, "request_data.job.id"))
			if sub := sandbox.Get(payload, "request_data.sub_job"); sub != nil {
				query = fmt.Sprintf("?project_id=%v&sub_job_id=%v", sandbox.Get(payload, "request_data.sub_job.project.id"), cc["biller_id"])
			}
			p.call("PATCH", "/cost_code_line_item_types/sync"+query, map[string]any{"updates": []any{map[string]any{"cost_code_id": cc["id"], "line_item_type_id": t["id"], "synced": true}}})
		}
	}
}

// unlink returns a message while the ERP has the record.
func (p *pipeline) unlink(row catalogue.EventType, payload map[string]any) string {
	places := map[string][3]string{
		"unlink_commitment":                  {"work_order_contract", "request_data.procore_commitment_id", "request_data.commitment_origin_id"},
		"unlink_commitment_change_order":     {"change_order", "request_data.procore_commitment_change_order_id", "request_data.commitment_change_order_origin_id"},
		"unlink_payment_application":         {"payment_application", "request_data.payment_application.id", "request_data.payment_application.origin_id"},
		"unlink_prime_contract_change_order": {"change_order", "prime_contract_change_order.id", "prime_contract_change_order.origin_id"},
		"unlink_company_level_direct_cost":   {"company_level_direct_cost", "request_data.direct_cost.id", "request_data.direct_cost.origin_id"},
	}
	if at, plain := places[row.Name]; plain {
		if !p.deleted(fmt.Sprint(sandbox.Get(payload, at[2]))) {
			return "The record is still in your ERP system. Delete it there, then retry."
		}
		p.call("PATCH", "/companies/7/erp_status_management/unlink", map[string]any{"item_type": at[0], "item_id": sandbox.GetID(payload, at[1])})
		lines := list(payload, "request_data.payment_application.items")
		kind := "payment_application_line_item"
		if lines == nil {
			lines, kind = list(payload, "prime_contract_change_order_line_items"), "line_item"
		}
		for _, l := range lines {
			p.call("PATCH", "/companies/7/external_data/sync", map[string]any{"updates": []any{map[string]any{"item_type": kind, "item_id": l["id"], "origin_id": nil}}})
		}
		return ""
	}
	place := fmt.Sprintf("?company_id=7&project_id=%v", sandbox.Get(payload, "request_data.project.id"))
	for _, cc := range list(payload, "request_data.cost_codes") {
		if !p.deleted(fmt.Sprint(cc["origin_id"])) {
			return "The cost code is still in your ERP system. Delete it there, then retry."
		}
		p.call("DELETE", fmt.Sprintf("/cost_codes/%v%s", cc["id"], place), nil)
	}
	for _, a := range list(payload, "request_data.cost_type_assignments") {
		if !p.deleted(fmt.Sprintf("%v|%v", a["cost_code_origin_id"], a["line_item_type_origin_id"])) {
			return "The assignment is still in your ERP system. Delete it there, then retry."
		}
		p.call("DELETE", fmt.Sprintf("/cost_code_line_item_types/%v%s", a["id"], place), nil)
		p.call("DELETE", fmt.Sprintf("/erp_job_costs/%v%s", a["job_cost_id"], place), nil)
	}
	return ""
}

func (p *pipeline) deleted(origin string) bool {
	p.erp.mu.Lock()
	defer p.erp.mu.Unlock()
	return p.erp.gone[origin]
}

func (p *pipeline) sync(row catalogue.EventType) {
	direct := func(path string, entity tiebackv1.Entity, top map[string]any) {
		for _, r := range p.erp.of(entity) {
			body := map[string]any{"company_id": 7, "updates": []any{map[string]any{"origin_id": r.GetOriginId(), "name": r.GetName()}}}
			for k, v := range top {
				body[k] = v
			}
			p.call("PATCH", path, body)
		}
	}
	switch row.Name {
	case "sync_standard_categories":
		direct("/line_item_types/sync", tiebackv1.Entity_ENTITY_STANDARD_CATEGORY, nil)
	case "sync_standard_cost_codes":
		direct("/standard_cost_codes/sync", tiebackv1.Entity_ENTITY_STANDARD_COST_CODE, map[string]any{"standard_cost_code_list_id": 907})
	case "sync_contract_payments":
		for _, r := range p.erp.of(tiebackv1.Entity_ENTITY_PAYMENT) {
			invoice, _ := p.sb.Synced(7, "requisition", r.GetParentOriginId())
			p.call("PATCH", "/companies/7/invoice_payments/sync", map[string]any{"updates": []any{map[string]any{
				"invoice_type": "Billings::Requisition", "invoice_id": invoice.ID, "origin_id": r.GetOriginId()}}})
		}
	case "sync_vendors":
		p.stage(tiebackv1.Entity_ENTITY_VENDOR, "vendor")
	case "sync_jobs":
		p.stage(tiebackv1.Entity_ENTITY_JOB, "project")
	case "sync_sub_jobs":
		p.stage(tiebackv1.Entity_ENTITY_SUB_JOB, "sub_job")
	case "sync_commitments":
		p.stage(tiebackv1.Entity_ENTITY_COMMITMENT, "work_order_contract")
	case "sync_commitment_change_orders":
		p.stage(tiebackv1.Entity_ENTITY_COMMITMENT_CHANGE_ORDER, "commitment_change_order")
	case "sync_prime_contracts":
		p.stage(tiebackv1.Entity_ENTITY_PRIME_CONTRACT, "prime_contract")
	}
}

func (p *pipeline) stage(entity tiebackv1.Entity, itemType string) {
	for _, r := range p.erp.of(entity) {
		if _, synced := p.sb.Synced(7, itemType, r.GetOriginId()); synced {
			continue
		}
		item := map[string]any{"item_type": itemType, "origin_id": r.GetOriginId(), "origin_code": r.GetCode(), "status": "staged", "data": stagedData(itemType, r)}
		var children []any
		for _, l := range r.GetLines() {
			children = append(children, map[string]any{"item_type": "line_item", "origin_id": l.GetOriginId(), "data": map[string]any{
				"cost_code_origin_id": l.GetCostCodeOriginId(), "line_item_type_origin_id": l.GetCategoryOriginId(), "commitment_line_item_origin_id": l.GetContractLineOriginId()}})
		}
		if children != nil {
			item["children"] = children
		}
		p.call("PATCH", "/companies/7/staged_records/sync", map[string]any{"updates": []any{item}})
	}
}

// stagedData returns the data of a staged record.
func stagedData(itemType string, r *tiebackv1.Record) map[string]any {
	name := "title"
	if itemType == "vendor" || itemType == "project" || itemType == "sub_job" {
		name = "name"
	}
	data := map[string]any{name: r.GetName()}
	for field, v := range map[string]string{
		"project_origin_id": r.GetJobOriginId(), "vendor_origin_id": r.GetVendorOriginId(), "commitment_origin_id": r.GetContractOriginId(),
	} {
		if v != "" && (field != "vendor_origin_id" || strings.HasSuffix(itemType, "_order_contract")) {
			data[field] = v
		}
	}
	return data
}
