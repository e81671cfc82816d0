package schema

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
)

// To refresh openapi.json, take the current list of published operations (the file openapi.json
// among the facts about Procore that the project keeps beside this repository: a JSON list of
// {operationId, method, path, parameters, requestBody, responses} from the reference at
// developers.procore.com) and run
//
//	go test ./pkg/procore/schema -run TestFixture -source FILE
//
// then delete the rows of unpublished.json that TestRowsAreNeeded names.
var source = flag.String("source", "", "the file of published operations that openapi.json is trimmed from")

// resources are those whose operations the fixture keeps, by the path's first names.
var resources = []string{
	"companies", "vendors", "insurances", "projects", "sub_jobs", "cost_codes", "standard_cost_codes", "standard_cost_code_lists", "line_item_types",
	"tax_codes", "tax_types", "work_order_contracts", "purchase_order_contracts", "commitments", "prime_contract", "prime_contracts", "contract_payments",
	"requisitions", "payment_applications", "webhooks", "me",
}

func kept(path string) bool {
	parts := strings.Split(path, "/") // "", "rest", "v1.0", resource …
	return len(parts) > 3 && slices.Contains(resources, parts[3]) && !strings.Contains(path, "meeting_templates") && !strings.Contains(path, "work_breakdown_structure")
}

// trim reduces the published list to what Check and Answers read.
func trim(t *testing.T, raw []byte) []byte {
	t.Helper()
	var list []struct {
		Method, Path string
		Parameters   []struct {
			Name, In, Description string
			Required              bool
			Schema                any
		}
		RequestBody *struct {
			Required bool
			Schema   any
		}
		Responses map[string]struct{ Schema any }
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	var out []operation
	for _, op := range list {
		if !kept(op.Path) {
			continue
		}
		trimmed := operation{Method: op.Method, Path: op.Path}
		for _, p := range op.Parameters {
			either := strings.Contains(p.Description, "either a company_id or project_id")
			trimmed.Parameters = append(trimmed.Parameters, parameter{Name: p.Name, In: p.In, Required: p.Required, Either: either, Schema: reduce(t, p.Schema)})
		}
		if op.RequestBody != nil {
			trimmed.Body = &body{Required: op.RequestBody.Required, Schema: reduce(t, op.RequestBody.Schema)}
		}
		if answer := reduce(t, op.Responses["200"].Schema); op.Method == "GET" && answer.Items != nil {
			for name := range answer.Items.Properties {
				trimmed.Answers = append(trimmed.Answers, name)
			}
			slices.Sort(trimmed.Answers)
		}
		out = append(out, trimmed)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	b.WriteString("[\n")
	for i, op := range out {
		if i > 0 {
			b.WriteString(",")
		}
		if err := enc.Encode(op); err != nil {
			t.Fatal(err)
		}
	}
	b.WriteString("]\n")
	return b.Bytes()
}

// ignored are keywords that restrict nothing.
var ignored = []string{"description", "default"}

// reduce reads a fragment. A keyword that Check does not know fails the test: it must not be
// passed over. "(nested object)" is what is left where the list was cut.
func reduce(t *testing.T, v any) fragment {
	t.Helper()
	m, _ := v.(map[string]any)
	if m["description"] == "(nested object)" {
		return fragment{}
	}
	clean := map[string]any{}
	for key, value := range m {
		switch {
		case slices.Contains(ignored, key):
		case key == "properties":
			fields := map[string]any{}
			for name, field := range value.(map[string]any) {
				fields[name] = reduce(t, field)
			}
			clean[key] = fields
		case key == "items":
			clean[key] = reduce(t, value)
		case slices.Contains([]string{"type", "format", "enum", "required"}, key):
			clean[key] = value
		default:
			t.Errorf("the keyword %q is not known to Check", key)
		}
	}
	raw, err := json.Marshal(clean)
	if err != nil {
		t.Fatal(err)
	}
	var f fragment
	if err := json.Unmarshal(raw, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFixture(t *testing.T) {
	if *source != "" {
		raw, err := os.ReadFile(*source)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("openapi.json", trim(t, raw), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if len(published) < 100 {
		t.Fatalf("openapi.json has %d operations", len(published))
	}
	for _, op := range published {
		if !kept(op.Path) || op.Name != "" || op.Source != "" {
			t.Errorf("%s %s: is no trimmed operation", op.Method, op.Path)
		}
	}
}
