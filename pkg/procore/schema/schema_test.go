package schema

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func check(t *testing.T, method, uri, body string) []string {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, v := range Check(method, u.Path, u.Query(), []byte(body)) {
		out = append(out, v.String())
	}
	return out
}

// Each case is a request that Procore would refuse, or of which it would drop a part.
func TestViolations(t *testing.T) {
	const v1, co = "/rest/v1.0", "/rest/v1.0/companies/7"
	for name, c := range map[string]struct{ method, uri, body, want string }{
		"a path that is none":           {"GET", v1 + "/purchase_orders", "", "neither a published operation"},
		"a method that is none":         {"DELETE", v1 + "/vendors", "", "neither a published operation"},
		"an id that is none":            {"GET", v1 + "/vendors/x?company_id=7", "", `path id is "x" and must be an id`},
		"no project in a flat delete":   {"DELETE", v1 + "/standard_cost_codes/5", "", "query company_id is missing"},
		"neither company nor project":   {"GET", v1 + "/line_item_types", "", "query company_id or project_id is missing"},
		"a query of another type":       {"GET", v1 + "/vendors?company_id=seven", "", `query company_id is "seven" and must be of type integer`},
		"a query of no word":            {"GET", v1 + "/projects?company_id=7&filters[by_status]=Open", "", `must be one of ["All","Active","Inactive"]`},
		"an unknown query":              {"GET", v1 + "/prime_contracts?project_id=1&view=extended", "", "query view is not a parameter"},
		"a body of none":                {"DELETE", v1 + "/standard_cost_codes/5?company_id=7", "{}", "body is not part of this operation"},
		"no body":                       {"PATCH", v1 + "/vendors/sync", "", "body is missing"},
		"no JSON":                       {"PATCH", v1 + "/vendors/sync", "{", "body is not JSON"},
		"a missing field":               {"PATCH", v1 + "/vendors/sync", `{"updates":[]}`, "body company_id is missing"},
		"a missing field of an update":  {"PATCH", v1 + "/insurances/sync", `{"updates":[{"company_id":7},{}]}`, "body updates[1].company_id is missing"},
		"a field beside the updates":    {"PATCH", v1 + "/insurances/sync", `{"company_id":7,"updates":[]}`, "body company_id is not a field"},
		"an unknown field of an update": {"PATCH", v1 + "/vendors/sync", `{"company_id":7,"updates":[{"description":"x"}]}`, "body updates[0].description is not a field"},
		"a field of another type":       {"PATCH", v1 + "/vendors/sync", `{"company_id":7,"updates":[{"id":"5"}]}`, `body updates[0].id is "5" and must be of type integer`},
		"an id that is a fraction":      {"PATCH", v1 + "/vendors/sync", `{"company_id":7.5,"updates":[]}`, "body company_id is 7.5 and must be of type integer"},
		"null":                          {"PATCH", v1 + "/vendors/sync", `{"company_id":7,"updates":[{"name":null}]}`, "body updates[0].name is null and must be of type string"},
		"a word of no enum":             {"PATCH", v1 + "/line_item_types/sync", `{"company_id":7,"updates":[{"base_type":"labor"}]}`, `body updates[0].base_type is "labor" and must be one of`},
		"a date that is none":           {"PATCH", v1 + "/projects/sync", `{"company_id":7,"updates":[{"start_date":"2026-12-01T00:00:00Z"}]}`, "and must be a date"},
		"a staged field of no name":     {"PATCH", co + "/staged_records/sync", `{"updates":[{"item_type":"project","origin_id":"J","data":{"start_date":"2026-12-01"}}]}`, "body updates[0].data.start_date is not a field"},
		"a staged field of another":     {"PATCH", co + "/staged_records/sync", `{"updates":[{"item_type":"sub_job","origin_id":"J","data":{"project_origin_id":"P","project_number":"1"}}]}`, "data.project_number is not a field"},
		"a staged line":                 {"PATCH", co + "/staged_records/sync", `{"updates":[{"item_type":"work_order_contract","origin_id":"C","data":{"project_origin_id":"P"},"children":[{"item_type":"line_item","origin_id":"L","data":{"tax_amount":"1"}}]}]}`, "children[0].data.tax_amount is not a field"},
		"a hook whose body is cut":      {"POST", v1 + "/webhooks/hooks", `{"company_id":7}`, "body hook is missing"},
	} {
		if got := check(t, c.method, c.uri, c.body); len(got) != 1 || !strings.Contains(got[0], c.want) {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
	}
}

func TestWhatIsPublishedPasses(t *testing.T) {
	const v1, co = "/rest/v1.0", "/rest/v1.0/companies/7"
	for _, c := range [][3]string{
		{"GET", v1 + "/vendors/5?company_id=7", ""},
		{"GET", v1 + "/line_item_types?project_id=7&page=2&per_page=100", ""},
		{"GET", v1 + "/projects/7/commitment_change_orders?page=2", ""}, // lists have pages, whether published or not
		{"GET", v1 + "/webhooks/hooks/3/deliveries?company_id=7&filter[status]=failing&filters[status]=failing", ""},
		{"PATCH", v1 + "/projects/sync", `{"company_id":9007199254740993,"updates":[{"name":"A","start_date":"2026-12-01","work_scope":null,"department_ids":[1]}]}`},
		{"PATCH", v1 + "/projects/5", `{"company_id":7,"project":{"project_number":"1"}}`},
		{"PATCH", co + "/external_data/sync", `{"updates":[{"item_type":"vendor","item_id":5,"origin_id":null}]}`},
	} {
		if got := check(t, c[0], c[1], c[2]); got != nil {
			t.Errorf("%s %s: %q", c[0], c[1], got)
		}
	}
}

// Every row of unpublished.json has a name and a source, and gives what openapi.json lacks.
func TestRowsAreNeeded(t *testing.T) {
	in := map[string]operation{}
	for _, op := range published {
		in[op.Method+" "+op.Path] = op
	}
	names := map[string]bool{}
	for _, row := range unpublished {
		if row.Name == "" || row.Source == "" || names[row.Name] {
			t.Errorf("%s %s: a row needs a name of its own and a source", row.Method, row.Path)
		}
		names[row.Name] = true
		op, ok := in[row.Method+" "+row.Path]
		if !ok {
			continue
		}
		if row.Body == nil && row.Parameters == nil || row.Body != nil && (op.Body == nil || fmt.Sprint(op.Body.Schema) != fmt.Sprint(fragment{})) {
			t.Errorf("%s: is published in full: delete the row", row.Name)
		}
		for _, p := range row.Parameters {
			if slices.ContainsFunc(op.Parameters, func(o parameter) bool { return o.Name == p.Name }) {
				t.Errorf("%s: %s is published: delete it from the row", row.Name, p.Name)
			}
		}
	}
}
