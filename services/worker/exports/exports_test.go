package exports_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
	"github.com/tieback/tieback/pkg/payload"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/exports"
	"github.com/tieback/tieback/services/worker/workertest"
)

// links are the records that are already synced, for samples that refer to them by Procore's ids.
func links() map[string]string {
	return map[string]string{
		"requisition/7": "REQ-7", "work_order_contract/6": "WO-6", "vendor/598134325841112": "V-1", // create_payment
		"work_order_contract/2": "WO-2", "line_item/177": "WO-2-1", // create_commitment_change_order
		"prime_contract/22": "PC-22", "line_item/592": "PC-76-55", // owner's side
	}
}

func run(t *testing.T, eventType string, raw []byte, e *workertest.ERP) ([]*tiebackv1.CloseOut, error) {
	t.Helper()
	return exports.Handlers[eventType](context.Background(), workertest.Task(t, eventType, raw, e, &workertest.Procore{}))
}

func must(t *testing.T, eventType string, raw []byte, e *workertest.ERP) []*tiebackv1.CloseOut {
	t.Helper()
	out, err := run(t, eventType, raw, e)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEveryExportTypeHasAHandler(t *testing.T) {
	if _, err := worker.New(context.Background(), catalogue.Export, exports.Handlers, worker.Deps{}); err != nil {
		t.Fatal(err)
	}
}

func TestSamplesAreBookedOnce(t *testing.T) {
	samples := workertest.Samples(t)
	for _, row := range catalogue.Of(catalogue.Export) {
		t.Run(row.Name, func(t *testing.T) {
			e, p := &workertest.ERP{Linked: links()}, &workertest.Procore{}
			out := must(t, row.Name, samples[row.Name], e)
			workertest.Golden(t, row.Name, e, p, out)
			for _, m := range row.Marks {
				marked(t, m, samples[row.Name], out)
			}
			once := len(e.Puts)
			again := must(t, row.Name, samples[row.Name], e)
			if len(e.Puts) != once {
				t.Errorf("the second run booked %d more records", len(e.Puts)-once)
			}
			if got, want := workertest.Report(t, e, p, again), workertest.Report(t, e, p, out); !bytes.Equal(got, want) {
				t.Errorf("the second run reported\n%s\nthe first\n%s", got, want)
			}
		})
	}
}

// marked checks a mark of the catalogue against the sample: each record at its path is marked, with an origin
// id and one of the item types.
func marked(t *testing.T, m catalogue.Mark, sample []byte, out []*tiebackv1.CloseOut) {
	t.Helper()
	ids := at(t, sample, strings.Split(m.ItemIDAt, "."))
	if len(ids) == 0 {
		t.Errorf("nothing at %s in the sample", m.ItemIDAt)
	}
	types := strings.FieldsFunc(m.ItemType, func(r rune) bool { return strings.ContainsRune(" |()", r) })
	for _, id := range ids {
		found := false
		for _, c := range out {
			found = found || slices.ContainsFunc(c.Marks, func(k *tiebackv1.Mark) bool {
				return k.ItemId == id && slices.Contains(types, k.ItemType) && k.OriginId != ""
			})
		}
		if !found {
			t.Errorf("%s %d is not marked", m.ItemType, id)
		}
	}
}

func at(t *testing.T, raw []byte, path []string) []int64 {
	t.Helper()
	q, err := payload.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	level := []payload.Object{q.Data}
	if path[0] == "request_data[]" {
		level = q.List
	}
	for _, step := range path[1 : len(path)-1] {
		var next []payload.Object
		for _, o := range level {
			if name, many := strings.CutSuffix(step, "[]"); many {
				next = append(next, o.Objects(name)...)
			} else {
				next = append(next, o.Object(step))
			}
		}
		level = next
	}
	var ids []int64
	for _, o := range level {
		ids = append(ids, o.ID(path[len(path)-1]))
	}
	return ids
}

func refuse(code string, err error) func(*tiebackv1.Record) error {
	return func(r *tiebackv1.Record) error {
		if r.Code == code {
			return err
		}
		return nil
	}
}

// Procore lets the user export with another code only if the message contains the word "code".
func TestRefusedCodeMessageContainsTheWordCode(t *testing.T) {
	e := &workertest.ERP{Refuse: refuse("JOB-EXP", fault.Refused("code", "JOB-EXP is taken."))}
	out := must(t, "create_or_update_job", workertest.Samples(t)["create_or_update_job"], e)
	if len(out) != 1 || out[0].Status != tiebackv1.Status_STATUS_FAILED || out[0].RequestDetailId != 2 || len(out[0].Marks) != 0 {
		t.Fatalf("close-outs %v", out)
	}
	if !strings.Contains(out[0].Messages[0], "code") {
		t.Errorf("message %q", out[0].Messages[0])
	}
	if len(e.Puts) != 0 {
		t.Errorf("booked %v below a refused job", e.Puts)
	}
}

// The marks of the booked records are kept; the request detail names the record that failed.
func TestRefusedCostCodeKeepsTheMarksOfTheOthers(t *testing.T) {
	e := &workertest.ERP{Refuse: refuse("1-001", fault.Permanentf("No such account."))}
	out := must(t, "create_or_update_job", workertest.Samples(t)["create_or_update_job"], e)
	if len(out) != 2 {
		t.Fatalf("close-outs %v", out)
	}
	booked, failed := out[0], out[1]
	if booked.RequestDetailId != 0 || booked.Status != tiebackv1.Status_STATUS_SUCCESS || len(booked.Marks) != 2 {
		t.Errorf("booked %v", booked)
	}
	if failed.RequestDetailId != 2 || failed.Status != tiebackv1.Status_STATUS_FAILED || failed.Messages[0] != `cost code "Test SCC": No such account.` {
		t.Errorf("failed %v", failed)
	}
}

func TestStandardCostCodesHaveCloseOutsOfTheirOwn(t *testing.T) {
	two := []byte(`{"request_data":[
		{"id":3,"parent_id":2,"code":"10","full_code":"01-10","name":"Child","request_detail_id":31},
		{"id":2,"code":"01","full_code":"01","name":"Parent","request_detail_id":21}]}`)
	e := &workertest.ERP{}
	out := must(t, "create_standard_cost_codes", two, e)
	if len(e.Puts) != 2 || e.Puts[1].ParentOriginId != "E-1" {
		t.Fatalf("booked %v", e.Puts)
	}
	if len(out) != 2 || out[0].RequestDetailId != 21 || out[1].RequestDetailId != 31 {
		t.Errorf("close-outs %v", out)
	}
	e = &workertest.ERP{Refuse: refuse("01-10", fault.Permanentf("no"))}
	out = must(t, "create_standard_cost_codes", two, e)
	if out[0].Status != tiebackv1.Status_STATUS_SUCCESS || out[1].Status != tiebackv1.Status_STATUS_FAILED {
		t.Errorf("close-outs %v", out)
	}
}

func TestPaymentWithoutItsInvoiceIsRefused(t *testing.T) {
	out := must(t, "create_payment", workertest.Samples(t)["create_payment"], &workertest.ERP{})
	if out[0].Status != tiebackv1.Status_STATUS_FAILED || !strings.Contains(out[0].Messages[0], "Export the invoice first") {
		t.Errorf("close-outs %v", out)
	}
}

// After a reset the ERP has neither the job nor its cost codes, whatever Procore's payload says.
func TestCostCodesOfAResetJobAreBookedAgain(t *testing.T) {
	sample := workertest.Samples(t)["create_or_update_job"]
	e := &workertest.ERP{}
	first := must(t, "create_or_update_job", sample, e)
	if err := e.NextGeneration(context.Background(), workertest.Company, "ENTITY_JOB", 7, order.New(time.Time{}, workertest.RequestID-1)); err != nil {
		t.Fatal(err)
	}
	stale := workertest.Edit(t, sample, `"full_code":"1-001","origin_id":null`, `"full_code":"1-001","origin_id":"E-3"`)
	second := must(t, "create_or_update_job", stale, e)
	for i, m := range second[0].Marks {
		if m.OriginId == first[0].Marks[i].OriginId {
			t.Errorf("%s %d has the origin id of its last generation, %s", m.ItemType, m.ItemId, m.OriginId)
		}
	}
}

func TestHandlersReturnErrorsThatAreRetried(t *testing.T) {
	for _, class := range []fault.Class{fault.Transient, fault.Throttled, fault.Ambiguous} {
		e := &workertest.ERP{Refuse: refuse("origin_code", fault.New(class, errors.New("down")))}
		if _, err := run(t, "create_vendor", workertest.Samples(t)["create_vendor"], e); fault.ClassOf(err) != class || err == nil {
			t.Errorf("%v came back as %v", class, err)
		}
	}
}

// A malformed payload is dead-lettered, with a message for the accountant and an error for the operator.
func TestMalformedPayloadIsAPermanentError(t *testing.T) {
	samples := workertest.Samples(t)
	for name, raw := range map[string]struct {
		event string
		raw   []byte
	}{
		"no vendor":               {"create_vendor", []byte(`{"request_data":{"request_detail_id":1}}`)},
		"no id":                   {"create_vendor", []byte(`{"request_data":{"vendor":{"name":"x"}}}`)},
		"an amount in words":      {"create_payment", workertest.Edit(t, samples["create_payment"], `"amount":"1.0"`, `"amount":"one"`)},
		"a boolean amount":        {"create_budget", workertest.Edit(t, samples["create_budget"], `33.33`, `true`)},
		"a transaction of no job": {"create_budget", workertest.Edit(t, samples["create_budget"], `"job_cost_id":456`, `"job_cost_id":457`)},
		"an unknown commitment":   {"create_commitment", workertest.Edit(t, samples["create_commitment"], `"type":"WorkOrderContract"`, `"type":"Lease"`)},
		"a date in words":         {"create_payment_application", workertest.Edit(t, samples["create_payment_application"], `"billing_date":"2023-05-01"`, `"billing_date":"soon"`)},
		"no requisitions":         {"create_requisitions", []byte(`{"request_data":{"requisitions":[]}}`)},
		"lines that are no list":  {"create_commitment", []byte(`{"request_data":{"commitment":{"id":1,"type":"WorkOrderContract"},"commitment_items":7}}`)},
	} {
		t.Run(name, func(t *testing.T) {
			e := &workertest.ERP{Linked: links()}
			_, err := run(t, raw.event, raw.raw, e)
			var f *fault.Error
			if !errors.As(err, &f) || f.Class != fault.Permanent || f.UserMessage == "" || f.Err == nil {
				t.Errorf("error %#v", err)
			}
			if len(e.Puts) != 0 {
				t.Errorf("booked %v", e.Puts)
			}
		})
	}
}

// A job that is in the ERP is updated, and so are its cost codes that are in the ERP.
func TestExportOfABookedJobUpdatesIt(t *testing.T) {
	sample := workertest.Samples(t)["create_or_update_job"]
	raw := workertest.Edit(t, sample, `"name":"Test Project","origin_id":null`, `"name":"Test Project","origin_id":"J"`, `"full_code":"1","origin_id":null`, `"full_code":"1","origin_id":"C"`)
	e := &workertest.ERP{}
	must(t, "create_or_update_job", raw, e)
	if e.Puts[0].OriginId != "J" || e.Puts[1].OriginId != "C" || e.Puts[2].OriginId != "" || e.Puts[2].ParentOriginId != "C" || e.Puts[2].JobOriginId != "J" {
		t.Errorf("booked %v", e.Puts)
	}
}

// If one of two invoices in an event is refused, the other one gets its marks.
func TestRefusedInvoiceKeepsTheMarksOfTheOther(t *testing.T) {
	two := `{"request_data":{"request_detail_id":5,"requisitions":[
		{"procore_requisition_id":1,"code":"A","amount":"1","contract_origin_id":"WO"},{"procore_requisition_id":2,"code":"B","amount":"1","contract_id":9}]}}`
	out := must(t, "create_requisitions", []byte(two), &workertest.ERP{})
	if len(out) != 2 || len(out[0].Marks) != 1 || out[0].RequestDetailId != 0 || out[1].RequestDetailId != 5 || out[1].Status != tiebackv1.Status_STATUS_FAILED {
		t.Fatalf("close-outs %v", out)
	}
	if !strings.Contains(out[1].Messages[0], `"B"`) {
		t.Errorf("message %q does not name the invoice", out[1].Messages[0])
	}
}

// The ERP has the money of a budget as transactions, which Procore does not send again. A budget without its
// origin id gets its mark, and its totals are not booked in addition.
func TestBudgetInTheERPBooksNoTotals(t *testing.T) {
	sample := workertest.Samples(t)["create_budget"]
	marked := workertest.Edit(t, sample, `"value":33.33`, `"value":33.33,"deleted_at":"2026-01-01T00:00:00Z"`)
	for name, e := range map[string]*workertest.ERP{
		"booked": {},
		"linked": {Linked: map[string]string{"budget/1": "E-1"}, States: map[string]tiebackv1.RecordState{"E-1": tiebackv1.RecordState_RECORD_STATE_PRESENT}},
	} {
		want := 0
		if name == "booked" {
			must(t, "create_budget", sample, e)
			want = 1
		}
		out := must(t, "create_budget", marked, e)
		if len(e.Puts) != want || len(out) != 1 || len(out[0].Marks) != 1 || out[0].Marks[0].OriginId != "E-1" {
			t.Errorf("%s: booked %v, close-outs %v", name, e.Puts, out)
		}
	}
	lost := &workertest.ERP{Linked: map[string]string{"budget/1": "E-9"}}
	must(t, "create_budget", marked, lost)
	if len(lost.Puts) != 1 || len(lost.Puts[0].Lines) != 1 || lost.Puts[0].Lines[0].Amount != "44.45" {
		t.Errorf("a budget that the ERP lost is booked as %v", lost.Puts)
	}
}

// The number of a payment is its check number. Procore counts payment_number itself, per contract.
func TestPaymentNumberIsTheCheckNumber(t *testing.T) {
	e := &workertest.ERP{Linked: links()}
	must(t, "create_payment", workertest.Edit(t, workertest.Samples(t)["create_payment"], `"check_number":"12"`, `"check_number":null`, `"payment_number":null`, `"payment_number":1`), e)
	if r := e.Puts[0]; r.Number != "" || !strings.Contains(string(r.CustomFields), `"payment_number":1`) {
		t.Errorf("number %q, custom fields %s", r.Number, r.CustomFields)
	}
}
