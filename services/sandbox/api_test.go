package sandbox_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/tieback/tieback/services/sandbox"
)

// user calls the API with the access token of a company's client.
type user struct {
	t      testing.TB
	srv    *httptest.Server
	token  string
	header string
}

func serve(t testing.TB, sb *sandbox.Sandbox) *user {
	t.Helper()
	srv := httptest.NewServer(sb.Handler())
	t.Cleanup(func() { srv.Close(); http.DefaultClient.CloseIdleConnections() })
	return &user{t: t, srv: srv, token: tokenOf(t, srv, mine), header: fmt.Sprint(mine)}
}

func tokenOf(t testing.TB, srv *httptest.Server, company int64) string {
	t.Helper()
	resp, err := srv.Client().PostForm(srv.URL+"/oauth/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {fmt.Sprint("client", company)}, "client_secret": {"hush"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body struct {
		Token     string `json:"access_token"`
		Type      string `json:"token_type"`
		ExpiresIn int    `json:"expires_in"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || body.Token == "" || body.Type != "bearer" || body.ExpiresIn != 5400 {
		t.Fatalf("token answer %+v, %v", body, err)
	}
	return body.Token
}

func (u *user) do(method, path, body string) (int, string, http.Header) {
	u.t.Helper()
	req, err := http.NewRequest(method, u.srv.URL+path, strings.NewReader(body))
	if err != nil {
		u.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+u.token)
	if u.header != "" {
		req.Header.Set("Procore-Company-Id", u.header)
	}
	resp, err := u.srv.Client().Do(req)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer resp.Body.Close()
	raw, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(raw), resp.Header
}

func create(t testing.TB, sb *sandbox.Sandbox, itemType string) int64 {
	t.Helper()
	id, err := sb.CreateRecord(mine, itemType)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Each refusal has a message that says what is wrong.
func TestRefusals(t *testing.T) {
	sb := newSandbox(t, sandbox.Config{})
	u := serve(t, sb)
	vendor, synced, project := create(t, sb, "vendor"), create(t, sb, "vendor"), create(t, sb, "project")
	costCode, litID := create(t, sb, "cost_code"), create(t, sb, "line_item_type")
	if err := sb.Link(mine, "vendor", synced, "V-1"); err != nil {
		t.Fatal(err)
	}
	reqID, _ := sb.Press(mine, "create_vendor", nil)
	req, _ := sb.Request(reqID)
	detail := req.Details[0].ID
	theirReq, _ := sb.Press(theirs, "sync_vendors", nil)
	tooMany := `{"updates":[` + strings.TrimSuffix(strings.Repeat(`{"item_type":"vendor","item_id":1},`, 1001), ",") + `]}`
	const co = "/rest/v1.0/companies/7"
	cases := []struct {
		why, method, path, body string
		status                  int
		message                 string
	}{
		{"an unknown request", "GET", co + "/erp_requests/1", "", 404, "does not exist"},
		{"another company's request", "GET", fmt.Sprintf("%s/erp_requests/%d", co, theirReq), "", 403, "another company"},
		{"another company's path", "GET", "/rest/v1.0/companies/8/erp_request_details", "", 403, "another company"},
		{"an unknown path", "PATCH", "/rest/v1.0/purchase_orders/sync", "{}", 404, "not a path"},
		{"a method that the path lacks", "POST", co + "/external_data/sync", "{}", 404, "not a path"},
		{"no JSON", "PATCH", co + "/external_data/sync", "{", 400, "not valid JSON"},
		{"no updates", "PATCH", co + "/external_data/sync", "{}", 422, "updates"},
		{"over 1,000 updates", "PATCH", co + "/external_data/sync", tooMany, 422, "at most 1000"},

		{"an item type of no external data", "PATCH", co + "/external_data/sync", `{"updates":[{"item_type":"commitment","item_id":1,"origin_id":"X"}]}`, 200, "not an item type"},
		{"an id never issued", "PATCH", co + "/external_data/sync", `{"updates":[{"item_type":"vendor","item_id":1,"origin_id":"X"}]}`, 200, "vendor 1 could not be found"},
		{"an id of another item type", "PATCH", co + "/external_data/sync", fmt.Sprintf(`{"updates":[{"item_type":"project","item_id":%d,"origin_id":"X"}]}`, vendor), 200, "could not be found"},
		{"an origin id used twice", "PATCH", co + "/external_data/sync", fmt.Sprintf(`{"updates":[{"item_type":"vendor","item_id":%d,"origin_id":"V-1"}]}`, vendor), 200, "already taken"},
		{"a blank origin id", "PATCH", co + "/external_data/sync", fmt.Sprintf(`{"updates":[{"item_type":"vendor","item_id":%d,"origin_id":""}]}`, vendor), 200, "must not be blank"},
		{"no origin id", "PATCH", co + "/external_data/sync", fmt.Sprintf(`{"updates":[{"item_type":"vendor","item_id":%d}]}`, vendor), 200, "is missing"},
		{"a float for an id", "PATCH", co + "/external_data/sync", `{"updates":[{"item_type":"vendor","item_id":9.007e15,"origin_id":"X"}]}`, 200, "could not be found"},

		{"an unknown status", "PATCH", fmt.Sprintf("%s/erp_request_details/%d", co, detail), `{"request_detail":{"status":"done"}}`, 422, "not one of"},
		{"no request_detail", "PATCH", fmt.Sprintf("%s/erp_request_details/%d", co, detail), `{"status":"success"}`, 422, "request_detail"},
		{"messages that are no list", "PATCH", fmt.Sprintf("%s/erp_request_details/%d", co, detail), `{"request_detail":{"status":"failed","messages":"no"}}`, 422, "must be of type array"},
		{"an unknown detail", "PATCH", co + "/erp_request_details/1", `{"request_detail":{"status":"failed"}}`, 404, "not in company"},
		{"an unknown detail in bulk", "PATCH", co + "/erp_request_details/sync", `{"updates":[{"id":1,"status":"success"}]}`, 200, "no request detail"},

		{"assignments of no project", "PATCH", "/rest/v1.0/cost_code_line_item_types/sync", `{"updates":[]}`, 422, "project_id"},
		{"assignments of an unknown project", "PATCH", "/rest/v1.0/cost_code_line_item_types/sync?project_id=1", `{"updates":[]}`, 404, "project 1"},
		{"assignments of an unknown sub job", "PATCH", fmt.Sprintf("/rest/v1.0/cost_code_line_item_types/sync?project_id=%d&sub_job_id=1", project), `{"updates":[]}`, 404, "sub job 1"},
		{"an assignment of an unknown cost code", "PATCH", fmt.Sprintf("/rest/v1.0/cost_code_line_item_types/sync?project_id=%d", project), fmt.Sprintf(`{"updates":[{"cost_code_id":1,"line_item_type_id":%d,"synced":true}]}`, litID), 200, "no cost_code"},
		{"an assignment of an unknown type", "PATCH", fmt.Sprintf("/rest/v1.0/cost_code_line_item_types/sync?project_id=%d", project), fmt.Sprintf(`{"updates":[{"cost_code_id":%d,"line_item_type_id":1,"synced":true}]}`, costCode), 200, "no line_item_type"},
		{"transactions of no project", "PATCH", "/rest/v1.0/erp_transactions/sync", `{"updates":[]}`, 422, "project_id"},
		{"an unknown transaction", "PATCH", "/rest/v1.0/erp_transactions/sync", fmt.Sprintf(`{"project_id":%d,"updates":[{"id":1,"origin_id":"T"}]}`, project), 200, "no ERP transaction"},

		{"unlinking the unknown", "PATCH", co + "/erp_status_management/unlink", `{"item_type":"vendor","item_id":1}`, 422, "vendor 1 could not be found"},
		{"unlinking the unsynced", "PATCH", co + "/erp_status_management/unlink", fmt.Sprintf(`{"item_type":"vendor","item_id":%d}`, vendor), 422, "not synced"},
		{"unlinking an item type that isn't", "PATCH", co + "/erp_status_management/unlink", `{"item_type":"commitment","item_id":1}`, 422, "not an item type"},
		{"unlinking an unknown payment", "PATCH", co + "/invoice_payments/1/unlink", "", 422, "invoice_payment 1 could not be found"},

		{"staging a type that can't be", "PATCH", co + "/staged_records/sync", `{"updates":[{"item_type":"cost_code","origin_id":"X"}]}`, 200, "cannot be staged"},
		{"staging in a status that isn't", "PATCH", co + "/staged_records/sync", `{"updates":[{"item_type":"vendor","origin_id":"X","status":"ready"}]}`, 200, "one of staged"},
		{"staging without a project", "PATCH", co + "/staged_records/sync", `{"updates":[{"item_type":"sub_job","origin_id":"X","data":{}}]}`, 200, "data.project_origin_id"},
		{"staging a change order of nothing", "PATCH", co + "/staged_records/sync", `{"updates":[{"item_type":"commitment_change_order","origin_id":"X","data":{"project_origin_id":"P"}}]}`, 200, "data.commitment_origin_id"},
		{"staging a line alone", "PATCH", co + "/staged_records/sync", `{"updates":[{"item_type":"line_item","origin_id":"X"}]}`, 200, "parent_origin_id"},
		{"staging lines of a vendor", "PATCH", co + "/staged_records/sync", `{"updates":[{"item_type":"vendor","origin_id":"X","children":[{"item_type":"line_item","origin_id":"Y"}]}]}`, 200, "children"},
		{"staging what is synced", "PATCH", co + "/staged_records/sync", `{"updates":[{"item_type":"vendor","origin_id":"V-1"}]}`, 200, "already synced"},

		{"a list that isn't the connection's", "PATCH", "/rest/v1.0/standard_cost_codes/sync", `{"company_id":7,"standard_cost_code_list_id":1,"updates":[]}`, 422, "907"},
		{"a sync of no company", "PATCH", "/rest/v1.0/vendors/sync", `{"updates":[]}`, 422, "company_id"},
		{"a sync of another company", "PATCH", "/rest/v1.0/vendors/sync", `{"company_id":8,"updates":[]}`, 403, "another company"},
		{"updating an unknown id", "PATCH", "/rest/v1.0/vendors/sync", `{"company_id":7,"updates":[{"id":1,"name":"X"}]}`, 200, "no vendor with this id"},
		{"sub jobs of no project", "PATCH", "/rest/v1.0/sub_jobs/sync", `{"project_id":1,"updates":[]}`, 422, "project_id"},
		{"cost codes of no project", "PATCH", "/rest/v1.0/cost_codes/sync", `{"updates":[]}`, 422, "project_id"},
		{"job costs of an unsynced job", "PATCH", "/rest/v1.0/erp_job_costs/sync", `{"company_id":7,"job_origin_id":"J","updates":[]}`, 422, "job_origin_id"},
		{"insurances of an unknown vendor", "PATCH", "/rest/v1.0/insurances/sync", `{"updates":[{"company_id":7,"vendor_id":1}]}`, 200, "no vendor 1"},
		{"insurances of no company", "PATCH", "/rest/v1.0/insurances/sync", `{"company_id":7,"updates":[{"vendor_id":1}]}`, 422, "updates[0].company_id"},
		{"a field that Procore would drop", "PATCH", "/rest/v1.0/vendors/sync", `{"company_id":7,"updates":[{"description":"x"}]}`, 422, "description"},
		{"payments of no invoice", "PATCH", co + "/invoice_payments/sync", `{"updates":[{"invoice_type":"Billings::Requisition","invoice_id":1}]}`, 200, "no requisition"},
		{"payments of another invoice type", "PATCH", co + "/invoice_payments/sync", `{"updates":[{"invoice_type":"Invoice","invoice_id":1}]}`, 200, "Billings::Requisition"},
		{"an unknown project", "PATCH", "/rest/v1.0/projects/1", `{"company_id":7,"project":{}}`, 404, "project 1"},
		{"a project without its wrapper", "PATCH", fmt.Sprintf("/rest/v1.0/projects/%d", project), `{}`, 422, "project"},
		{"deleting the unknown", "DELETE", fmt.Sprintf("/rest/v1.0/cost_codes/1?project_id=%d", project), "", 404, "deleted before"},
		{"deleting in no project", "DELETE", "/rest/v1.0/cost_codes/1", "", 422, "query project_id"},
		{"deleting an unknown assignment", "DELETE", fmt.Sprintf("/rest/v1.0/cost_code_line_item_types/1?project_id=%d", project), "", 404, "deleted before"},

		{"an empty connection", "POST", co + "/erp_connections", `{}`, 422, "connection"},
		{"metadata of an unknown entity", "PATCH", co + "/erp_connections/metadata", `{"metadata":{"settings":{"entities":{"spaceships":{}}}}}`, 422, "spaceships"},
		{"metadata of no connection", "PATCH", co + "/erp_connections/metadata", `{"metadata":{"settings":{}}}`, 404, "create it first"},
		{"a misspelt field of an entity", "PATCH", co + "/erp_connections/metadata", `{"metadata":{"settings":{"entities":{"vendors":{"enabld":true}}}}}`, 422, "vendors.enabld"},
		{"a rule that isn't", "PATCH", co + "/erp_connections/metadata", `{"metadata":{"settings":{"entities":{"vendors":{"rules":{"save":{"fields":{"city":{"validation":{"maximum":{}}}}}}}}}}}`, 422, "city.validation.maximum"},
		{"a rule without its length", "PATCH", co + "/erp_connections/metadata", `{"metadata":{"settings":{"entities":{"vendors":{"rules":{"save":{"fields":{"city":{"validation":{"max_length":{}}}}}}}}}}}`, 422, "max_length.length"},
		{"a label that isn't", "PATCH", co + "/erp_connections/metadata", `{"metadata":{"settings":{"labels":{"nick":"x"}}}}`, 422, "labels.nick"},
		{"a namespace with capitals", "POST", "/rest/v1.0/webhooks/hooks", `{"company_id":7,"hook":{"api_version":"v2.0","namespace":"Tie_Back","destination_url":"http://x"}}`, 422, "namespace"},
		{"a hook for another company", "POST", "/rest/v1.0/webhooks/hooks", `{"company_id":8,"hook":{}}`, 403, "another company"},
		{"an unknown hook", "GET", "/rest/v1.0/webhooks/hooks/1/deliveries?company_id=7", "", 404, "hook 1"},
		{"deliveries of an unknown status", "GET", "/rest/v1.0/webhooks/hooks/1/deliveries?company_id=7&filters[status]=lost", "", 422, "one of any"},
	}
	for _, c := range cases {
		t.Run(c.why, func(t *testing.T) {
			status, body, header := u.do(c.method, c.path, c.body)
			if status != c.status || !strings.Contains(body, c.message) {
				t.Errorf("%d %s\nwant %d and %q", status, body, c.status, c.message)
			}
			if known := c.message != "not a path"; known && header.Get("X-Rate-Limit-Remaining") == "" {
				t.Error("the answer lacks the rate limit headers")
			}
		})
	}
	if n := sb.Counts()[sandbox.Unknown]; n != 2 {
		t.Errorf("%d calls to unknown paths counted; want 2", n)
	}
}

// A call needs a valid access token and the header of one of the client's companies.
func TestAuthorization(t *testing.T) {
	sb := newSandbox(t, sandbox.Config{})
	u := serve(t, sb)
	const path = "/rest/v1.0/companies/7/erp_request_details"
	expect := func(why string, wantStatus int, says string) {
		t.Helper()
		if status, body, _ := u.do("GET", path, ""); status != wantStatus || !strings.Contains(body, says) {
			t.Errorf("%s: %d %s; want %d %q", why, status, body, wantStatus, says)
		}
	}
	expect("an authorized call", 200, "[]")
	u.header = ""
	expect("no header", 400, "header is missing")
	u.header = "8"
	expect("another company's header", 403, "another company")
	u.header = "7"
	if err := sb.Fail(sandbox.FaultRule{Kind: sandbox.FaultExpire}); err != nil {
		t.Fatal(err)
	}
	expect("an expired token", 401, "The access token is invalid")
	u.token = "made-up"
	expect("a made-up token", 401, "The access token is invalid")
	resp, err := u.srv.Client().PostForm(u.srv.URL+"/oauth/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"client7"}, "client_secret": {"wrong"}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 401 {
		t.Errorf("a wrong secret got %d", resp.StatusCode)
	}
}

// A company has one connection, which keeps its metadata.
func TestOneConnection(t *testing.T) {
	u := serve(t, newSandbox(t, sandbox.Config{}))
	const path, create = "/rest/v1.0/companies/7/erp_connections", `{"connection":{"service_url":"https://us","metadata":{"settings":{"labels":{"name":"One"}}}}}`
	for _, c := range []struct {
		method, path, body string
		status             int
		message            string
	}{
		{"GET", path, "", 200, "[]"},
		{"POST", path, create, 201, `"standard_cost_code_list_id":907`},
		{"POST", path, create, 422, "has a connection already"},
		{"PATCH", path + "/metadata", `{"metadata":{"settings":{"labels":{"name":"Two"}}}}`, 200, "Two"},
		{"GET", path, "", 200, `"metadata":{"settings":{"labels":{"name":"Two"}}}`},
	} {
		if status, body, _ := u.do(c.method, c.path, c.body); status != c.status || !strings.Contains(body, c.message) {
			t.Errorf("%s %s: %d %s, want %d %q", c.method, c.path, status, body, c.status, c.message)
		}
	}
}

// A client without permission for a tool is refused on the tool's paths only.
func TestForbiddenTools(t *testing.T) {
	sb := newSandbox(t, sandbox.Config{})
	u := serve(t, sb)
	const requests, hooks = "/rest/v1.0/companies/7/erp_request_details", "/rest/v1.0/webhooks/hooks?company_id=7"
	expect := func(why string, wantRequests, wantHooks int) {
		t.Helper()
		for path, want := range map[string]int{requests: wantRequests, hooks: wantHooks} {
			if status, body, _ := u.do("GET", path, ""); status != want {
				t.Errorf("%s: %s is answered %d %s, want %d", why, path, status, body, want)
			}
		}
	}
	if err := sb.Forbid(7, sandbox.ERPIntegrations); err != nil {
		t.Fatal(err)
	}
	expect("no ERP Integrations", 403, 200)
	if err := sb.Forbid(7, sandbox.Webhooks); err != nil {
		t.Fatal(err)
	}
	expect("no webhooks", 200, 403)
	if err := sb.Forbid(7); err != nil {
		t.Fatal(err)
	}
	expect("all", 200, 200)
}

// A final detail cannot be changed, and a success before the external data is recorded as too early.
func TestFinalDetail(t *testing.T) {
	sb := newSandbox(t, sandbox.Config{})
	u := serve(t, sb)
	id, _ := sb.Press(mine, "create_vendor", nil)
	req, _ := sb.Request(id)
	d := req.Details[0]
	_, body, _ := u.do("PATCH", "/rest/v1.0/companies/7/external_data/sync", fmt.Sprintf(`{"updates":[{"item_type":"vendor","item_id":%d,"origin_id":"V-9","origin_code":"9"}]}`, d.ItemID))
	if !strings.Contains(body, `"errors":[]`) {
		t.Fatal(body)
	}
	update := fmt.Sprintf(`{"updates":[{"id":%d,"status":"success","messages":["done"]}]}`, d.ID)
	u.do("PATCH", "/rest/v1.0/companies/7/erp_request_details/sync", update)
	if req, _ = sb.Request(id); !req.IsClosed() || req.Outcome() != sandbox.Success || len(req.TooEarly) != 0 {
		t.Fatalf("%+v", req)
	}
	if _, body, _ := u.do("PATCH", "/rest/v1.0/companies/7/erp_request_details/sync", update); !strings.Contains(body, "is already success") {
		t.Errorf("a repeated update is accepted: %s", body)
	}
	if status, body, _ := u.do("PATCH", fmt.Sprintf("/rest/v1.0/companies/7/erp_request_details/%d", d.ID), `{"request_detail":{"status":"failed"}}`); status != 422 || !strings.Contains(body, "is already success") {
		t.Errorf("another status is accepted: %d %s", status, body)
	}
	early, _ := sb.Press(mine, "create_vendor", nil)
	req, _ = sb.Request(early)
	u.do("PATCH", fmt.Sprintf("/rest/v1.0/companies/7/erp_request_details/%d", req.Details[0].ID), `{"request_detail":{"status":"success"}}`)
	if req, _ = sb.Request(early); len(req.TooEarly) != 1 {
		t.Errorf("a success without external data is not recorded: %+v", req)
	}
}

// A sync action finds a record by id or origin id and keeps the digits of numbers.
func TestSyncAction(t *testing.T) {
	sb := newSandbox(t, sandbox.Config{})
	u := serve(t, sb)
	sync := func(item string) (entity map[string]any) {
		t.Helper()
		_, body, _ := u.do("PATCH", "/rest/v1.0/vendors/sync", `{"company_id":7,"updates":[`+item+`]}`)
		var a struct {
			Entities []map[string]any `json:"entities"`
		}
		dec := json.NewDecoder(strings.NewReader(body))
		dec.UseNumber()
		if err := dec.Decode(&a); err != nil || len(a.Entities) != 1 {
			t.Fatalf("%s, %v", body, err)
		}
		return a.Entities[0]
	}
	if created := sync(`{"name":"no id"}`); created["id"] == nil {
		t.Errorf("without id and origin id: %v", created)
	}
	if _, body, _ := u.do("PATCH", "/rest/v1.0/projects/sync", `{"company_id":7,"updates":[{"name":"A","total_value":12345678901234567.89}]}`); !strings.Contains(body, `"total_value":12345678901234567.89`) {
		t.Errorf("the amount changed: %s", body)
	}
	byOrigin := sync(`{"origin_id":"A","name":"new"}`)
	if again := sync(`{"origin_id":"A","name":"newer"}`); again["id"] != byOrigin["id"] {
		t.Errorf("one origin id has two records: %v, %v", byOrigin["id"], again["id"])
	}
	both := sync(fmt.Sprintf(`{"id":%v,"origin_id":"B"}`, byOrigin["id"]))
	if _, still := sb.Synced(mine, "vendor", "A"); both["id"] != byOrigin["id"] || still {
		t.Error("id and origin id together must change the origin id")
	}
}

// An imported record that is unlinked can be imported again.
func TestStageImportUnlink(t *testing.T) {
	sb := newSandbox(t, sandbox.Config{})
	u := serve(t, sb)
	stage := func(item string) {
		t.Helper()
		if _, body, _ := u.do("PATCH", "/rest/v1.0/companies/7/staged_records/sync", `{"updates":[`+item+`]}`); !strings.Contains(body, `"errors":[]`) {
			t.Fatal(body)
		}
	}
	stage(`{"item_type":"purchase_order_contract","origin_id":"PO-1","origin_code":"1","data":{"project_origin_id":"P","vendor_origin_id":"V"},
	  "children":[{"item_type":"line_item","origin_id":"PO-1-1","data":{"cost_code_origin_id":"C","line_item_type_origin_id":"T"}}]}`)
	if _, err := sb.Import(mine, "purchase_order_contract", "PO-1"); err == nil || sb.Staged(mine, "purchase_order_contract")[0].Status != "invalid" {
		t.Fatalf("imported with references to records that are not synced: %v", err)
	}
	for kind, origin := range map[string]string{"project": "P", "vendor": "V", "cost_code": "C", "line_item_type": "T"} {
		if err := sb.Link(mine, kind, create(t, sb, kind), origin); err != nil {
			t.Fatal(err)
		}
	}
	stage(`{"item_type":"purchase_order_contract","origin_id":"PO-1","data":{"project_origin_id":"P"}}`)
	r, err := sb.Import(mine, "purchase_order_contract", "PO-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, lines := sb.Synced(mine, "line_item", "PO-1-1"); !lines {
		t.Error("the line was not imported")
	}
	if status, body, _ := u.do("PATCH", "/rest/v1.0/companies/7/erp_status_management/unlink", fmt.Sprintf(`{"item_type":"purchase_order_contract","item_id":%d}`, r.ID)); status != 200 {
		t.Fatal(body)
	}
	if st := sb.Staged(mine, "purchase_order_contract")[0]; st.Status != "staged" {
		t.Errorf("after the unlink the staged record is %s", st.Status)
	}
}
