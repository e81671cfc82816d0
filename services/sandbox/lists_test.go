package sandbox_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/tieback/tieback/services/sandbox"
)

// get returns the ids and origin ids of a page of a list, as "1=V-1 2=", and the URI of the next page.
func (u *user) get(path string) (status int, items string, next string) {
	u.t.Helper()
	status, body, header := u.do("GET", path, "")
	var list []struct {
		ID     json.Number `json:"id"`
		Origin string      `json:"origin_id"`
	}
	if status == 200 {
		if err := json.Unmarshal([]byte(body), &list); err != nil || header.Get("Total") == "" || header.Get("Per-Page") == "" {
			u.t.Fatalf("%s: %v: %s %v", path, err, body, header)
		}
	}
	var out []string
	for _, item := range list {
		out = append(out, fmt.Sprintf("%s=%s", item.ID, item.Origin))
	}
	link, _, _ := strings.Cut(strings.TrimPrefix(header.Get("Link"), "<"), ">")
	if parsed, err := url.Parse(link); err == nil && link != "" {
		next = parsed.RequestURI()
	}
	if status != 200 {
		return status, body, ""
	}
	return status, strings.Join(out, " "), next
}

func TestListPages(t *testing.T) {
	sb := newSandbox(t, sandbox.Config{})
	u := serve(t, sb)
	a, b, c := create(t, sb, "vendor"), create(t, sb, "vendor"), create(t, sb, "vendor")
	if err := sb.Link(mine, "vendor", b, "V-2"); err != nil {
		t.Fatal(err)
	}
	_, first, next := u.get("/rest/v1.0/vendors?company_id=7&per_page=2")
	_, second, end := u.get(next)
	if first != fmt.Sprintf("%d= %d=V-2", a, b) || second != fmt.Sprintf("%d=", c) || end != "" {
		t.Errorf("%q, then %s: %q, then %q", first, next, second, end)
	}
}

// A list needs the ids in its query, and they must be ids of the company.
func TestListRefusals(t *testing.T) {
	sb := newSandbox(t, sandbox.Config{})
	u := serve(t, sb)
	for path, want := range map[string]string{
		"/rest/v1.0/vendors":                                                       "422 company_id",
		"/rest/v1.0/vendors?company_id=8":                                          "403 another company",
		"/rest/v1.0/standard_cost_codes?company_id=7":                              "422 standard_cost_code_list_id",
		"/rest/v1.0/standard_cost_codes?company_id=7&standard_cost_code_list_id=5": "404 list 5",
		"/rest/v1.0/requisitions":                                                  "422 project_id",
		"/rest/v1.0/requisitions?project_id=1":                                     "404 project 1",
		"/rest/v1.0/projects/1/prime_change_orders":                                "404 project 1",
		"/rest/v1.0/companies/8/insurances":                                        "403 another company",
		"/rest/v1.0/budgets?project_id=1":                                          "404 not a path",
	} {
		status, body, _ := u.get(path)
		number, says, _ := strings.Cut(want, " ")
		if fmt.Sprint(status) != number || !strings.Contains(body, says) {
			t.Errorf("%s: %d %s, want %s", path, status, body, want)
		}
	}
	u.header = ""
	if status, body, _ := u.get("/rest/v1.0/vendors?company_id=7"); status != 400 || !strings.Contains(body, "Procore-Company-Id") {
		t.Errorf("without the company header: %d %s", status, body)
	}
}

// A record is in the lists of the project and the contract that its payload has.
func TestListsOfProjectAndContract(t *testing.T) {
	sb := newSandbox(t, sandbox.Config{})
	u := serve(t, sb)
	payload, err := sb.Sample(mine, "create_commitment_change_order", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sb.Press(mine, "create_commitment_change_order", payload); err != nil {
		t.Fatal(err)
	}
	id := func(path string) int64 { return sandbox.GetID(payload, "request_data."+path) }
	project, contract := id("commitment.project.id"), id("commitment.id")
	for path, want := range map[string]int64{
		fmt.Sprintf("/rest/v1.0/work_order_contracts?project_id=%d", project):                         contract,
		fmt.Sprintf("/rest/v1.0/work_order_contracts/%d/line_items?project_id=%d", contract, project): id("commitment_items[].id"),
		fmt.Sprintf("/rest/v1.0/projects/%d/commitment_change_orders", project):                       id("change_order.id"),
	} {
		if _, items, _ := u.get(path); items != fmt.Sprintf("%d=", want) {
			t.Errorf("%s: %q, want %d", path, items, want)
		}
	}
	for _, path := range []string{
		fmt.Sprintf("/rest/v1.0/projects/%d/prime_change_orders", project),
		fmt.Sprintf("/rest/v1.0/work_order_contracts?project_id=%d", create(t, sb, "project")),
	} {
		if _, items, _ := u.get(path); items != "" {
			t.Errorf("%s: %q", path, items)
		}
	}
	_, body, _ := u.do("GET", fmt.Sprintf("/rest/v1.0/projects/%d/commitment_change_orders", project), "")
	if !strings.Contains(body, fmt.Sprint(id("change_order_items[].id"))) {
		t.Errorf("a change order without its lines: %s", body)
	}
}

// Some lists have only a part of the records by default. A client that ignores this misses records.
func TestPartialLists(t *testing.T) {
	sb := newSandbox(t, sandbox.Config{})
	u := serve(t, sb)
	codes := fmt.Sprintf("/rest/v1.0/standard_cost_codes?company_id=7&standard_cost_code_list_id=%d", 907)
	vendor, project, code := create(t, sb, "vendor"), create(t, sb, "project"), create(t, sb, "standard_cost_code")
	for kind, id := range map[string]int64{"vendor": vendor, "project": project, "standard_cost_code": code} {
		if err := sb.Link(mine, kind, id, "X"); err != nil {
			t.Fatal(err)
		}
	}
	u.do("PATCH", "/rest/v1.0/vendors/sync", fmt.Sprintf(`{"company_id":7,"updates":[{"id":%d,"is_active":false}]}`, vendor))
	u.do("PATCH", "/rest/v1.0/projects/sync", fmt.Sprintf(`{"company_id":7,"updates":[{"id":%d,"active":false}]}`, project))
	for path, want := range map[string]int64{
		"/rest/v1.0/vendors?company_id=7":                              0,
		"/rest/v1.0/companies/7/vendors/inactive":                      vendor,
		"/rest/v1.0/projects?company_id=7":                             0,
		"/rest/v1.0/projects?company_id=7&filters[by_status]=Active":   0,
		"/rest/v1.0/projects?company_id=7&filters[by_status]=Inactive": project,
		"/rest/v1.0/projects?company_id=7&filters[by_status]=All":      project,
		codes + "&view=extended":                                       code,
		codes + "&view=compact":                                        code,
	} {
		got, wanted := "", ""
		if _, got, _ = u.get(path); want != 0 {
			wanted = fmt.Sprintf("%d=X", want)
		}
		if got != wanted {
			t.Errorf("%s: %q, want %q", path, got, wanted)
		}
	}
	if _, body, _ := u.do("GET", codes, ""); strings.Contains(body, "origin_id") || !strings.Contains(body, fmt.Sprint(code)) {
		t.Errorf("the default view: %s", body)
	}
}
