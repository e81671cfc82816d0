package procore

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tieback/tieback/pkg/secretfile"
)

// Route is an operation of Procore's API. Path may contain the placeholders {company_id}, {id} for the record, and {hook_id} for
// the hook of a trigger. Routes that are not published are inferred, and may be wrong: the routes file (TIEBACK_PROCORE_ROUTES)
// overrides paths by the name of the route. The path in an override may have a query with the same placeholders, which is added
// to that of the call, and has priority if both have a name.
type Route struct {
	Name   string
	Method string
	Path   string
}

// The routes that any service may call. Those that only the status-reporter may call are declared in
// services/status-reporter/internal/closeout.
var (
	GetERPRequest = Route{"erp_request", "GET", "/rest/v1.0/companies/{company_id}/erp_requests/{id}"}

	SyncStagedRecords     = Route{"staged_records_sync", "PATCH", "/rest/v1.0/companies/{company_id}/staged_records/sync"}
	SyncStandardCostCodes = Route{"standard_cost_codes_sync", "PATCH", "/rest/v1.0/standard_cost_codes/sync"}
	SyncLineItemTypes     = Route{"line_item_types_sync", "PATCH", "/rest/v1.0/line_item_types/sync"}
	SyncVendors           = Route{"vendors_sync", "PATCH", "/rest/v1.0/vendors/sync"}
	SyncProjects          = Route{"projects_sync", "PATCH", "/rest/v1.0/projects/sync"}
	SyncSubJobs           = Route{"sub_jobs_sync", "PATCH", "/rest/v1.0/sub_jobs/sync"}
	SyncCostCodes         = Route{"cost_codes_sync", "PATCH", "/rest/v1.0/cost_codes/sync"}
	SyncJobCosts          = Route{"erp_job_costs_sync", "PATCH", "/rest/v1.0/erp_job_costs/sync"}
	SyncInsurances        = Route{"insurances_sync", "PATCH", "/rest/v1.0/insurances/sync"}
	SyncInvoicePayments   = Route{"invoice_payments_sync", "PATCH", "/rest/v1.0/companies/{company_id}/invoice_payments/sync"}

	UpdateProject = Route{"project", "PATCH", "/rest/v1.0/projects/{id}"}
	UpdateSubJob  = Route{"sub_job", "PATCH", "/rest/v1.0/sub_jobs/{id}"}

	DeleteCostCode         = Route{"cost_code_delete", "DELETE", "/rest/v1.0/cost_codes/{id}"}
	DeleteJobCost          = Route{"erp_job_cost_delete", "DELETE", "/rest/v1.0/erp_job_costs/{id}"}
	DeleteStandardCostCode = Route{"standard_cost_code_delete", "DELETE", "/rest/v1.0/standard_cost_codes/{id}"}
	DeleteLineItemType     = Route{"line_item_type_delete", "DELETE", "/rest/v1.0/line_item_types/{id}"}
	DeleteAssignment       = Route{"cost_code_line_item_type_delete", "DELETE", "/rest/v1.0/cost_code_line_item_types/{id}"}

	ListHooks          = Route{"hooks_list", "GET", "/rest/v1.0/webhooks/hooks"}
	ListDeliveries     = Route{"deliveries_list", "GET", "/rest/v1.0/webhooks/hooks/{id}/deliveries"}
	GetRequestDetail   = Route{Name: "erp_request_detail", Method: "GET", Path: "/rest/v1.0/companies/{company_id}/erp_request_details/{id}"}
	ListRequestDetails = Route{"erp_request_details_list", "GET", "/rest/v1.0/companies/{company_id}/erp_request_details"}

	ListProjects = Route{"projects_list", "GET", "/rest/v1.0/projects"}
	ShowProject  = Route{"project_show", "GET", "/rest/v1.0/projects/{id}"}

	CreateHook    = Route{"hook_create", "POST", "/rest/v1.0/webhooks/hooks"}
	UpdateHook    = Route{"hook_update", "PATCH", "/rest/v1.0/webhooks/hooks/{id}"}
	DeleteHook    = Route{"hook_delete", "DELETE", "/rest/v1.0/webhooks/hooks/{id}"}
	ListTriggers  = Route{"triggers_list", "GET", "/rest/v1.0/webhooks/hooks/{id}/triggers"}
	CreateTrigger = Route{"trigger_create", "POST", "/rest/v1.0/webhooks/hooks/{id}/triggers"}
	DeleteTrigger = Route{"trigger_delete", "DELETE", "/rest/v1.0/webhooks/hooks/{hook_id}/triggers/{id}"}

	ListConnections  = Route{"erp_connections_list", "GET", "/rest/v1.0/companies/{company_id}/erp_connections"} // inferred
	CreateConnection = Route{"erp_connection_create", "POST", "/rest/v1.0/companies/{company_id}/erp_connections"}

	UpdateMetadata = Route{"erp_connection_metadata", "PATCH", "/rest/v1.0/companies/{company_id}/erp_connections/metadata"}
)

var placeholder = regexp.MustCompile(`\{[^}]*\}`)

// LoadRoutes reads a routes file, which maps the names of routes to paths, in YAML. If file is "", there are no overrides.
func LoadRoutes(file string) (map[string]string, error) {
	if file == "" {
		return nil, nil
	}
	raw, err := secretfile.Read(file)
	if err != nil {
		return nil, fmt.Errorf("TIEBACK_PROCORE_ROUTES: %w", err)
	}
	routes := map[string]string{}
	if err := yaml.Unmarshal(raw, &routes); err != nil {
		return nil, fmt.Errorf("TIEBACK_PROCORE_ROUTES: %s: %w", file, err)
	}
	for name, path := range routes {
		if !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("TIEBACK_PROCORE_ROUTES: %s: %s: the path %q must start with /", file, name, path)
		}
		if _, extra, _ := strings.Cut(path, "?"); strings.Contains(path, "#") || !parses(extra) {
			return nil, fmt.Errorf("TIEBACK_PROCORE_ROUTES: %s: %s: the query of %q is not name=value pairs joined by &", file, name, path)
		}
		for _, p := range placeholder.FindAllString(path, -1) {
			if !slices.Contains([]string{"{company_id}", "{id}", "{hook_id}"}, p) {
				return nil, fmt.Errorf("TIEBACK_PROCORE_ROUTES: %s: %s: %s is unknown; a path may contain {company_id}, {id} and {hook_id}", file, name, p)
			}
		}
	}
	return routes, nil
}

func parses(query string) bool {
	_, err := url.ParseQuery(query)
	return err == nil
}

// path fills in the route's placeholders and adds the query.
func (r Route) path(overrides map[string]string, company int64, c Call) string {
	p := r.Path
	if o, ok := overrides[r.Name]; ok {
		p = o
	}
	p = strings.ReplaceAll(p, "{company_id}", strconv.FormatInt(company, 10))
	p = strings.ReplaceAll(p, "{id}", strconv.FormatInt(c.ID, 10))
	p = strings.ReplaceAll(p, "{hook_id}", strconv.FormatInt(c.Hook, 10))
	p, extra, _ := strings.Cut(p, "?")
	if extra == "" && len(c.Query) == 0 {
		return p
	}
	q := url.Values{}
	maps.Copy(q, c.Query)
	more, _ := url.ParseQuery(extra) // LoadRoutes has checked it
	maps.Copy(q, more)
	if len(q) == 0 {
		return p
	}
	return p + "?" + q.Encode()
}

// Query returns a query of name, value pairs, without zero ids.
func Query(pairs ...any) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if id, ok := pairs[i+1].(int64); ok && id == 0 {
			continue
		}
		q.Set(fmt.Sprint(pairs[i]), fmt.Sprint(pairs[i+1]))
	}
	return q
}
