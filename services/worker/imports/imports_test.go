package imports_test

import (
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker/imports"
	"github.com/tieback/tieback/services/worker/workertest"
)

type record = tiebackv1.Record

// The job and sub job of the samples.
const (
	project = "a22abb3a-e4ac-4ce7-b6dd-ab5801126eab"
	parent  = "sub_jobs_project_origin_id"
	sub     = "sub_job_origin_id"
)

func world(t *testing.T) *workertest.Rig {
	b := workertest.New(t)
	insurance, costCode := tiebackv1.Entity_ENTITY_INSURANCE, tiebackv1.Entity_ENTITY_COST_CODE
	assignment, jobCost := tiebackv1.Entity_ENTITY_COST_TYPE_ASSIGNMENT, tiebackv1.Entity_ENTITY_JOB_COST
	for _, r := range []*record{
		{Entity: insurance, OriginId: "INS-1", ParentOriginId: "vendor_origin_id", Name: "Safe & Co", Status: "Non-Compliant", Kind: "general", Number: "P-1", Amount: "1000000.00", StartsOn: "2026-01-01", EndsOn: "2026-12-31"},
		{Entity: insurance, OriginId: "INS-2", ParentOriginId: "origin_id2", Name: "Safe & Co", Status: "on file"},
		{Entity: insurance, OriginId: "INS-3", ParentOriginId: "another vendor", Name: "Safe & Co"},
		{Entity: costCode, OriginId: "CC-1", Code: "01", Name: "General", JobOriginId: project},
		{Entity: costCode, OriginId: "CC-2", Code: "02", Name: "Site", JobOriginId: parent, SubJobOriginId: sub},
		{Entity: assignment, OriginId: "CC-1|CAT-1", CostCodeOriginId: "CC-1", CategoryOriginId: "CAT-1", JobOriginId: project},
		{Entity: assignment, OriginId: "CC-2|CAT-1", CostCodeOriginId: "CC-2", CategoryOriginId: "CAT-1", JobOriginId: parent, SubJobOriginId: sub},
		{Entity: jobCost, OriginId: "CC-1|CAT-1", CostCodeOriginId: "CC-1", CategoryOriginId: "CAT-1", JobOriginId: project, Amount: "500.00"},
		{Entity: jobCost, OriginId: "CC-2|CAT-1", CostCodeOriginId: "CC-2", CategoryOriginId: "CAT-1", JobOriginId: parent, SubJobOriginId: sub, Amount: "7"},
	} {
		b.ERP.Add(r)
	}
	b.ERP.Link("line_item_type", 51, "CAT-1")
	return b
}

// Each type with Procore's published sample.
func TestSamples(t *testing.T) {
	rows := catalogue.Of(catalogue.Import)
	if len(rows) != len(imports.Handlers) {
		t.Errorf("%d handlers for %d types", len(imports.Handlers), len(rows))
	}
	for _, row := range rows {
		t.Run(row.Name, func(t *testing.T) {
			b := world(t)
			out, err := b.Run(imports.Handlers, row.Name, "")
			if err != nil {
				t.Fatal(err)
			}
			b.Golden(row.Name, out)
		})
	}
}

// Cases that the samples lack.
func TestPayloads(t *testing.T) {
	for name, c := range map[string]struct{ event, raw string }{
		"create_commitment_in_procore with ids": {"create_commitment_in_procore", `{"request_data":{"request_detail_id":9,
			"commitment":{"id":5,"origin_id":"SC-1","type":"WorkOrderContract"},"commitment_items":[{"id":"6","origin_id":"L-1"},{"id":7}]}}`},
		"create_commitment_in_procore with a purchase order": {"create_commitment_in_procore", `{"request_data":{"commitment":{"id":5,"origin_id":"PO-1","type":"PurchaseOrderContract"}}}`},
		"create_budget_in_procore with an origin id":         {"create_budget_in_procore", `{"request_data":{"budget":{"id":1,"origin_id":"B-1"}}}`},
		"create_sub_job_in_procore without a project":        {"create_sub_job_in_procore", `{"request_data":{"sub_job":{"id":2,"origin_id":"S-1"}}}`},
		"link_all_vendors with an unsynced vendor":           {"link_all_vendors", `{"request_data":{"vendors":[{"id":1,"origin_id":"null"},{"id":2,"origin_id":"V-2"}]}}`},
		"merge_vendors into an unsynced vendor":              {"merge_vendors", `{"request_data":{"master_vendor":{"id":1,"origin_id":null},"source_vendors":[{"id":2,"origin_id":"V-2"},{"id":1}]}}`},
		"link_all_vendors without vendors":                   {"link_all_vendors", `{"request_data":{"vendors":[]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			b := world(t)
			out, err := b.Run(imports.Handlers, c.event, c.raw)
			if err != nil {
				t.Fatal(err)
			}
			b.Golden(strings.ReplaceAll(name, " ", "_"), out)
		})
	}
}

func TestMalformedImportIsAPermanentError(t *testing.T) {
	for event, raw := range map[string]string{
		"link_vendor":               `{"request_data":{"vendor":{"id":32}}}`,
		"create_vendor_in_procore":  `{"request_data":{"vendor":{"origin_id":"V"}}}`,
		"merge_vendors":             `{"request_data":{}}`,
		"create_job_in_procore":     `{"request_data":{"project":{}}}`,
		"create_sub_job_in_procore": `{"request_data":{}}`,
	} {
		t.Run(event, func(t *testing.T) {
			_, err := world(t).Run(imports.Handlers, event, raw)
			if fault.ClassOf(err) != fault.Permanent || fault.UserMessage(err, "") == "" {
				t.Error(err)
			}
		})
	}
}

// The links are kept although the optional part fails permanently. Any other error is returned, and the event
// is retried.
func TestFailureOfAnOptionalPartKeepsTheLinks(t *testing.T) {
	for name, c := range map[string]struct {
		spoil   func(*workertest.Rig)
		retried bool
	}{
		"Procore refuses the call": {func(b *workertest.Rig) { b.Procore.Fail, b.Procore.FailFrom = 403, 1 }, false},
		"Procore refuses the item": {func(b *workertest.Rig) { b.Procore.RefuseItem = map[string]string{"INS-1": "is odd"} }, false},
		"the ERP refuses":          {func(b *workertest.Rig) { b.ERP.ListError, b.ERP.ListErrorFrom = fault.Permanentf("No."), 1 }, false},
		"Procore is down":          {func(b *workertest.Rig) { b.Procore.Fail, b.Procore.FailFrom = 500, 1 }, true},
		"the ERP is down":          {func(b *workertest.Rig) { b.ERP.ListError, b.ERP.ListErrorFrom = fault.Wait(1, nil), 1 }, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := world(t)
			c.spoil(b)
			out, err := b.Run(imports.Handlers, "link_vendor", "")
			if c.retried {
				if err == nil || fault.ClassOf(err) == fault.Permanent {
					t.Error(out, err)
				}
				return
			}
			if err != nil || len(out) != 2 || len(out[0].Links) != 1 || out[0].Status != tiebackv1.Status_STATUS_SUCCESS ||
				out[1].Status != tiebackv1.Status_STATUS_FAILED || len(out[1].Messages) != 1 {
				t.Error(out, err)
			}
		})
	}
}

// The handler does not list insurances if the ERP has none.
func TestInsurancesAreOptional(t *testing.T) {
	b := world(t)
	b.ERP.Unsupported = []tiebackv1.Entity{tiebackv1.Entity_ENTITY_INSURANCE}
	out, err := b.Run(imports.Handlers, "link_vendor", "")
	if err != nil || len(out) != 1 || len(out[0].Links) != 1 || len(b.Procore.Take()) != 0 || b.ERP.Lists != 0 {
		t.Error(out, err)
	}
}
