package metadata

import (
	"cmp"
	"fmt"

	"github.com/tieback/tieback/pkg/catalogue"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// entity is an entity of Procore's ERP tool, with the connector's entity.
type entity struct {
	name   string
	of     tiebackv1.Entity // 0: not in the connector contract
	staged bool             // new records are staged in Procore for import
	coded  string           // the noun of a record whose export needs a code; "": no code is needed
	more   func(is able) object
}

// able are the capabilities of the connector by entity.
type able map[tiebackv1.Entity]*tiebackv1.EntityCapability

// entities are all entities that metadata may name.
var entities = []entity{
	{name: "standard_cost_codes", of: tiebackv1.Entity_ENTITY_STANDARD_COST_CODE},
	{name: "standard_categories", of: tiebackv1.Entity_ENTITY_STANDARD_CATEGORY},
	{name: "vendors", of: tiebackv1.Entity_ENTITY_VENDOR, staged: true, coded: "vendor"},
	{name: "jobs", of: tiebackv1.Entity_ENTITY_JOB, staged: true, coded: "job", more: ofJobs},
	{name: "sub_jobs", of: tiebackv1.Entity_ENTITY_SUB_JOB, staged: true, coded: "sub job", more: ofJobs},
	{name: "budgets", of: tiebackv1.Entity_ENTITY_BUDGET, more: ofBudgets},
	{name: "job_costs", of: tiebackv1.Entity_ENTITY_JOB_COST},
	{name: "job_cost_transactions"},
	{name: "commitments", of: tiebackv1.Entity_ENTITY_COMMITMENT, staged: true, coded: "commitment", more: ofCommitments},
	{name: "commitment_items", of: tiebackv1.Entity_ENTITY_COMMITMENT},
	{name: "commitment_change_orders", of: tiebackv1.Entity_ENTITY_COMMITMENT_CHANGE_ORDER, staged: true},
	{name: "commitment_change_order_items", of: tiebackv1.Entity_ENTITY_COMMITMENT_CHANGE_ORDER},
	{name: "company_level_direct_costs", of: tiebackv1.Entity_ENTITY_DIRECT_COST},
	{name: "requisitions", of: tiebackv1.Entity_ENTITY_REQUISITION, more: ofRequisitions},
	{name: "contract_payments", of: tiebackv1.Entity_ENTITY_PAYMENT},
	{name: "payment_applications", of: tiebackv1.Entity_ENTITY_PAYMENT_APPLICATION},
	{name: "prime_contracts", of: tiebackv1.Entity_ENTITY_PRIME_CONTRACT, staged: true},
	{name: "prime_contract_change_orders", of: tiebackv1.Entity_ENTITY_PRIME_CONTRACT_CHANGE_ORDER, more: ofPrimeChanges},
}

// events maps names to the catalogue's names where they differ: items are exported with their document.
var events = map[string]string{
	"commitment_items": "commitments", "commitment_change_order_items": "commitment_change_orders", "contract_payments": "payments",
}

// settings enables what both sides support: there is an event for it, and the ERP has the call that the event needs.
//
//	export          Put
//	import, staged  List
//	unlink          State
func (e entity) settings(can able, erp string) object {
	c := can[e.of]
	export := c.GetPut() && e.has(catalogue.Export)
	on := c.GetPut() || c.GetList()
	configs := object{
		"export":         object{"enabled": export, "create": enabled(export), "update": enabled(export && c.GetUpdate())},
		"import":         enabled(c.GetList() && e.has(catalogue.Sync)),
		"unlink":         enabled(c.GetState() && e.has(catalogue.Unlink)),
		"staged_records": enabled(c.GetList() && e.staged),
	}
	if e.more != nil {
		overlay(configs, e.more(can))
	}
	out := object{"enabled": on, "configs": configs, "tab": enabled(on)}
	if e.coded != "" {
		out["tab"] = object{"enabled": on, "columns": object{"code": object{"enabled": true, "text": erp + " ID"}}}
		if export {
			out["rules"] = codeIsPresent(e.coded)
		}
	}
	return out
}

// codeIsPresent makes Procore ask for the code before an export.
func codeIsPresent(what string) object {
	present := object{"enabled": true, "message": fmt.Sprintf("The %s needs a code before it can be exported.", what)}
	return object{"export": object{"fields": object{"code": object{"enabled": true, "validation": object{"present": present}}}}}
}

// has reports whether there is an event of the category for the entity.
func (e entity) has(c catalogue.Category) bool {
	name := cmp.Or(events[e.name], e.name)
	for _, row := range catalogue.Of(c) {
		if row.Entity == name {
			return true
		}
	}
	return false
}

func ofJobs(is able) object {
	return object{
		"update":                         enabled(is[tiebackv1.Entity_ENTITY_JOB].GetUpdate()),
		"category_assignments":           enabled(is[tiebackv1.Entity_ENTITY_COST_TYPE_ASSIGNMENT].GetPut()),
		"cost_code_deletions":            enabled(is[tiebackv1.Entity_ENTITY_COST_CODE].GetState()),
		"cost_type_assignment_deletions": enabled(is[tiebackv1.Entity_ENTITY_COST_TYPE_ASSIGNMENT].GetState()),
	}
}

func ofBudgets(is able) object {
	put := is[tiebackv1.Entity_ENTITY_BUDGET].GetPut()
	return object{"sub_job_export": enabled(put), "revised_estimates_export": enabled(put)}
}

func ofCommitments(is able) object {
	put := is[tiebackv1.Entity_ENTITY_COMMITMENT].GetPut()
	return object{"export_purchase_orders": enabled(put), "export_subcontracts": enabled(put)}
}

func ofRequisitions(is able) object {
	return object{"sync_payments": enabled(is[tiebackv1.Entity_ENTITY_PAYMENT].GetList())}
}

func ofPrimeChanges(is able) object {
	return object{"export_estimate_markup": enabled(is[tiebackv1.Entity_ENTITY_PRIME_CONTRACT_CHANGE_ORDER].GetPut())}
}
