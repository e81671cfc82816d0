package syncs_test

import (
	"testing"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker/workertest"
)

type record = tiebackv1.Record

// Short names of the entities.
const (
	standardCostCode = tiebackv1.Entity_ENTITY_STANDARD_COST_CODE
	standardCategory = tiebackv1.Entity_ENTITY_STANDARD_CATEGORY
	vendor           = tiebackv1.Entity_ENTITY_VENDOR
	job              = tiebackv1.Entity_ENTITY_JOB
	subJob           = tiebackv1.Entity_ENTITY_SUB_JOB
	costCode         = tiebackv1.Entity_ENTITY_COST_CODE
	assignment       = tiebackv1.Entity_ENTITY_COST_TYPE_ASSIGNMENT
	jobCost          = tiebackv1.Entity_ENTITY_JOB_COST
	payment          = tiebackv1.Entity_ENTITY_PAYMENT
	commitment       = tiebackv1.Entity_ENTITY_COMMITMENT
	changeOrder      = tiebackv1.Entity_ENTITY_COMMITMENT_CHANGE_ORDER
	primeContract    = tiebackv1.Entity_ENTITY_PRIME_CONTRACT
)

// The job and sub job of the samples.
const (
	project = "project_origin_id"
	parent  = "sub_jobs_project_origin_id"
	sub     = "sub_job_origin_id"
)

// world returns a rig whose ERP has records of every kind, some of which are linked in Procore.
func world(t *testing.T) *workertest.Rig {
	b := workertest.New(t)
	for _, r := range records() {
		b.ERP.Add(r)
	}
	b.ERP.Link("vendor", 32, "V-2")
	b.ERP.Link("project", 7, project)
	b.ERP.Link("project", 8, parent)
	b.ERP.Link("sub_job", 1, sub)
	b.ERP.Link("purchase_order_contract", 41, "PO-1")
	b.ERP.Link("line_item_type", 51, "CAT-1")
	b.ERP.Link("cost_code", 61, "CC-1")
	b.ERP.Link("requisition", 71, "REQ-1")
	return b
}

func records() []*record {
	line := &tiebackv1.Line{
		TaxCodeOriginId: "TAX-1",
		OriginId:        "L-1", Description: "Steel", Amount: "1000.10", Quantity: "10", UnitCost: "100.01", Unit: "t", TaxAmount: "0.10",
		CostCodeOriginId: "CC-1", CategoryOriginId: "CAT-1", Position: 1,
	}
	unsynced := &tiebackv1.Line{OriginId: "L-2", Amount: "1", CostCodeOriginId: "CC-1", CategoryOriginId: "CAT-9"}
	change := &tiebackv1.Line{OriginId: "L-3", Amount: "-5.00", CostCodeOriginId: "CC-1", CategoryOriginId: "CAT-1", SubJobOriginId: sub, ContractLineOriginId: "L-1"}
	return []*record{
		{Entity: standardCostCode, OriginId: "SCC-2", Code: "01-100", Name: "Permits", ParentOriginId: "SCC-1"},
		{Entity: standardCostCode, OriginId: "SCC-1", Code: "01", Name: "General"},
		{Entity: standardCategory, OriginId: "CAT-1", Code: "L", Name: "Labor", Kind: "labor"},
		{Entity: standardCategory, OriginId: "CAT-2", Code: "M", Name: "Materials", Kind: "Material"},

		{Entity: vendor, OriginId: "V-1", Code: "ACME", Name: "Acme", Contact: &tiebackv1.Contact{Street: "1 Main St", City: "Ames", State: "IA", Zip: "50010", Country: "US", Phone: "555", Email: "a@acme.example"}},
		{Entity: vendor, OriginId: "V-2", Code: "BOLT", Name: "Bolt", Description: "Pays late", OriginData: "x"},
		{Entity: vendor, OriginId: "V-3", Name: "Idle", Inactive: true},
		{Entity: vendor, OriginId: "V-4", Name: "Under export", ProcoreId: 99},

		{Entity: job, OriginId: project, Code: "J1", Name: "Tower", StartsOn: "2026-01-02"},
		{Entity: job, OriginId: parent, ProcoreId: 8, Code: "J2", Name: "Bridge"},
		{Entity: job, OriginId: "JOB-3", Code: "J3", Name: "Dam", StartsOn: "2026-03-01", EndsOn: "2027-03-01"},
		{Entity: subJob, OriginId: sub, Code: "SJ01", Name: "East wing", JobOriginId: parent},
		{Entity: subJob, OriginId: "SUB-2", Code: "SJ02", Name: "West wing", JobOriginId: "JOB-3"},

		{Entity: costCode, OriginId: "CC-2", Code: "01-100", Name: "Permits", JobOriginId: project, ParentOriginId: "CC-1", StandardOriginId: "SCC-2"},
		{Entity: costCode, OriginId: "CC-1", Code: "01", Name: "General", JobOriginId: project},
		{Entity: costCode, OriginId: "CC-3", Code: "02", Name: "Site", JobOriginId: parent, SubJobOriginId: sub},
		{Entity: costCode, OriginId: "CC-4", Code: "03", Name: "Of the job alone", JobOriginId: parent},
		{Entity: assignment, OriginId: "CC-1|CAT-1", CostCodeOriginId: "CC-1", CategoryOriginId: "CAT-1", JobOriginId: project},
		{Entity: assignment, OriginId: "CC-2|CAT-9", CostCodeOriginId: "CC-2", CategoryOriginId: "CAT-9", JobOriginId: project},
		{Entity: assignment, OriginId: "CC-3|CAT-1", CostCodeOriginId: "CC-3", CategoryOriginId: "CAT-1", JobOriginId: parent, SubJobOriginId: sub},
		{Entity: jobCost, OriginId: "CC-1|CAT-1", CostCodeOriginId: "CC-1", CategoryOriginId: "CAT-1", JobOriginId: project, Amount: "500.00", ActualAmount: "12.34"},
		{Entity: jobCost, OriginId: "CC-3|CAT-1", CostCodeOriginId: "CC-3", CategoryOriginId: "CAT-1", JobOriginId: parent, SubJobOriginId: sub, Amount: "7"},

		{Entity: payment, OriginId: "PAY-1", ParentOriginId: "REQ-1", Amount: "99.99", Date: "2026-03-01", Number: "1001"},
		{Entity: payment, OriginId: "PAY-2", ParentOriginId: "REQ-2", Amount: "1.00"},
		{Entity: payment, OriginId: "PAY-3", ParentOriginId: "REQ-1", Amount: "2.00", ProcoreId: 5},

		{Entity: commitment, OriginId: "PO-1", Kind: "purchase_order_contract", Name: "Has it", JobOriginId: project, VendorOriginId: "V-2"},
		{Entity: commitment, OriginId: "PO-2", Kind: "purchase_order_contract", Number: "PO-2", Name: "Steel", Date: "2026-02-01", JobOriginId: project, VendorOriginId: "V-1", Amount: "1000.10", RetainagePercent: "5", Lines: []*tiebackv1.Line{line}},
		{Entity: commitment, OriginId: "SC-1", Kind: "work_order_contract", Code: "SC-1", Name: "Painting", JobOriginId: project, VendorOriginId: "V-2"},
		{Entity: changeOrder, OriginId: "CCO-1", Name: "Less steel", JobOriginId: project, ContractOriginId: "PO-1", Amount: "-5.00", Lines: []*tiebackv1.Line{change}},
		{Entity: primeContract, OriginId: "PC-1", Name: "Tower", JobOriginId: project, Lines: []*tiebackv1.Line{line}},
		{Entity: primeContract, OriginId: "PC-2", Name: "Dam", JobOriginId: "JOB-3"},
		{Entity: primeContract, OriginId: "PC-3", Name: "Annex", JobOriginId: project, Lines: []*tiebackv1.Line{line, unsynced}},
	}
}
