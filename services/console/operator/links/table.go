package links

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/tieback/tieback/pkg/procore"
)

// list is a list of Procore's whose records have origin_id.
type list struct {
	route    procore.Route
	itemType string   // of its records
	per      string   // item type of the records that each have such a list, {id} in the path; "": the company has one
	query    []string // names of values of the place, or name=value
	lines    *lines   // records inside each record, if the answer has them
	instead  bool     // read only for a parent whose own answer lacks its lines
}

// lines are records inside a record.
type lines struct {
	key      string
	itemType string
	below    *lines
}

var (
	lineItems   = &lines{key: "line_items", itemType: "line_item"}
	primeItems  = &lines{key: "line_items", itemType: "line_item", below: &lines{key: "markup_line_items", itemType: "markup"}}
	ofCompany   = []string{"company_id"}
	ofProject   = []string{"project_id"}
	extended    = []string{"project_id", "view=extended"}
	ofContract  = []string{"project_id", "contract_id"}
	ofSubJob    = []string{"project_id", "sub_job_id"}
	ofStandards = []string{"company_id", "standard_cost_code_list_id", "view=extended"} // the default view has no origin_id
	allProjects = []string{"company_id", "filters[by_status]=All"}                      // without it, active ones only
)

// table has the lists of each item type, parents before their children. Package schema has the published lists and their
// queries; the published fields of answers are incomplete. A routes file can change each route by its name, and add to
// its query.
//
//	company ── vendor, insurance, standard_cost_code, line_item_type, company_level_direct_cost, invoice_payment
//	   └─ project ── cost_code, requisition, payment_application
//	         ├─ sub_job ── cost_code
//	         ├─ work_order_contract, purchase_order_contract ── line_item, contract_payment
//	         ├─ prime_contract ── line_item
//	         └─ change_order (two lists) ── line_item ── markup
//
// Records of these item types are not here, because no list shows their external data: budget, department, item, tax_code,
// requisition_*_item. The origin_id of a payment_application_line_item in an answer is that of the contract's line.
var table = []list{
	{route: get("vendors_list", "vendors"), itemType: "vendor", query: ofCompany},
	{route: get("inactive_vendors_list", "companies/{company_id}/vendors/inactive"), itemType: "vendor"},
	{route: get("insurances_list", "companies/{company_id}/insurances"), itemType: "insurance"},
	{route: get("standard_cost_codes_list", "standard_cost_codes"), itemType: "standard_cost_code", query: ofStandards},
	{route: get("line_item_types_list", "line_item_types"), itemType: "line_item_type", query: ofCompany},
	{route: get("company_level_direct_costs_list", "companies/{company_id}/company_level_direct_costs"), itemType: "company_level_direct_cost"},
	{route: get("invoice_payments_list", "companies/{company_id}/invoice_payments"), itemType: "invoice_payment"},
	{route: get("projects_list", "projects"), itemType: "project", query: allProjects},

	{route: get("sub_jobs_list", "sub_jobs"), itemType: "sub_job", per: "project", query: ofProject},
	{route: get("cost_codes_list", "cost_codes"), itemType: "cost_code", per: "project", query: ofProject},
	{route: get("cost_codes_list", "cost_codes"), itemType: "cost_code", per: "sub_job", query: ofSubJob},
	{route: get("work_order_contracts_list", "work_order_contracts"), itemType: "work_order_contract", per: "project", query: extended, lines: lineItems},
	{route: get("purchase_order_contracts_list", "purchase_order_contracts"), itemType: "purchase_order_contract", per: "project", query: extended, lines: lineItems},
	{route: get("prime_contracts_list", "prime_contracts"), itemType: "prime_contract", per: "project", query: ofProject, lines: lineItems},
	{route: get("commitment_change_orders_list", "projects/{id}/commitment_change_orders"), itemType: "change_order", per: "project", lines: lineItems},
	{route: get("prime_change_orders_list", "projects/{id}/prime_change_orders"), itemType: "change_order", per: "project", lines: primeItems},
	{route: get("requisitions_list", "requisitions"), itemType: "requisition", per: "project", query: ofProject},
	{route: get("payment_applications_list", "payment_applications"), itemType: "payment_application", per: "project", query: ofProject},

	{route: get("work_order_contract_lines_list", "work_order_contracts/{id}/line_items"), itemType: "line_item", per: "work_order_contract", query: ofProject, instead: true},
	{route: get("purchase_order_contract_lines_list", "purchase_order_contracts/{id}/line_items"), itemType: "line_item", per: "purchase_order_contract", query: ofProject, instead: true},
	{route: get("prime_contract_lines_list", "prime_contracts/{id}/line_items"), itemType: "line_item", per: "prime_contract", query: ofProject, instead: true},
	{route: get("contract_payments_list", "contract_payments"), itemType: "contract_payment", per: "work_order_contract", query: ofContract},
	{route: get("contract_payments_list", "contract_payments"), itemType: "contract_payment", per: "purchase_order_contract", query: ofContract},
}

// ofWholeCompany reports whether lists of the company itself show all records of an item type. Records of a project that is
// not permitted to the app are in no list, although they exist.
func ofWholeCompany(itemType string) bool {
	if itemType == "project" {
		return false
	}
	for _, l := range table {
		for in := l.lines; in != nil; in = in.below {
			if in.itemType == itemType {
				return false
			}
		}
		if l.itemType == itemType && l.per != "" {
			return false
		}
	}
	return true
}

func get(name, path string) procore.Route {
	return procore.Route{Name: name, Method: "GET", Path: "/rest/v1.0/" + path}
}

// place is where a list is read.
type place struct {
	company, standards int64 // the company, and its list of standard cost codes; 0: not known
	project            int64 // 0: none
	parent             int64 // the record whose list it is; 0: the company
}

// call returns the call that reads a list at a place.
func (l list) call(p place) (procore.Call, error) {
	values := map[string]int64{
		"company_id": p.company, "standard_cost_code_list_id": p.standards, "project_id": p.project,
		"contract_id": p.parent, "sub_job_id": p.parent,
	}
	q := url.Values{}
	for _, name := range l.query {
		if key, value, fixed := strings.Cut(name, "="); fixed {
			q.Set(key, value)
			continue
		}
		if values[name] == 0 {
			return procore.Call{}, fmt.Errorf("%s is not known: add it to the companies file", name)
		}
		q.Set(name, fmt.Sprint(values[name]))
	}
	return procore.Call{Route: l.route, ID: p.parent, Query: q}, nil
}
