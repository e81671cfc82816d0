package syncs_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/catalogue"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker/syncs"
	"github.com/tieback/tieback/services/worker/workertest"
)

// Each type with Procore's published sample. The same sync run again, without changes, writes nothing.
func TestSecondSyncWritesNothing(t *testing.T) {
	rows := catalogue.Of(catalogue.Sync)
	if len(rows) != len(syncs.Handlers) {
		t.Errorf("%d handlers for %d types", len(syncs.Handlers), len(rows))
	}
	for _, row := range rows {
		t.Run(row.Name, func(t *testing.T) {
			b := world(t)
			out := run(t, b, row.Name)
			b.Golden(row.Name, out)
			if row.Name == "sync_metadata" {
				return // it is written each time
			}
			out = run(t, b, row.Name)
			if again := b.Procore.Take(); len(again) > 0 {
				t.Errorf("the second sync wrote %v", again)
			}
			if last := out[len(out)-1]; last.Status != tiebackv1.Status_STATUS_SUCCESS || len(last.Links) > 0 {
				t.Errorf("the second sync ended with %v", last)
			}
		})
	}
}

func run(t *testing.T, b *workertest.Rig, name string) []*tiebackv1.CloseOut {
	t.Helper()
	out, err := b.Run(syncs.Handlers, name, "")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func many(b *workertest.Rig, n int) {
	for i := range n {
		b.ERP.Add(&record{Entity: vendor, OriginId: fmt.Sprint("V-", i), Name: fmt.Sprint("Vendor ", i)})
	}
}

// sizes returns the sizes of the writes since the last call.
func sizes(b *workertest.Rig) string {
	var out []string
	for _, r := range b.Procore.Take() {
		updates, _ := r.Body["updates"].([]any)
		parts := strings.Split(r.Path, "/")
		out = append(out, fmt.Sprint(parts[len(parts)-2], " ", len(updates)))
	}
	return strings.Join(out, ", ")
}

func TestBatchesFillACall(t *testing.T) {
	for name, pageSize := range map[string]int{"full pages": 0, "pages of the ERP's own size": 250} {
		t.Run(name, func(t *testing.T) {
			b := workertest.New(t)
			b.ERP.PageSize = pageSize
			many(b, 2500)
			run(t, b, "sync_vendors")
			if got := sizes(b); got != "staged_records 1000, staged_records 1000, staged_records 500" {
				t.Error(got)
			}
		})
	}
}

func TestTombstonesAreArchivedOrRetired(t *testing.T) {
	gone := []*record{
		{Entity: vendor, OriginId: "V-1"}, {Entity: vendor, OriginId: "V-2"},
		{Entity: job, OriginId: "JOB-3"}, {Entity: job, OriginId: project},
		{Entity: subJob, OriginId: sub, JobOriginId: parent}, {Entity: subJob, OriginId: "SUB-2", JobOriginId: "JOB-3"},
		{Entity: commitment, OriginId: "PO-1", JobOriginId: project}, {Entity: commitment, OriginId: "PO-2", JobOriginId: project},
		{Entity: changeOrder, OriginId: "CCO-1", JobOriginId: project, ContractOriginId: "PO-1"},
		{Entity: primeContract, OriginId: "PC-1", JobOriginId: project},
		{Entity: standardCostCode, OriginId: "SCC-1"}, {Entity: payment, OriginId: "PAY-1", ParentOriginId: "REQ-1"},
	}
	for _, name := range []string{
		"sync_vendors", "sync_jobs", "sync_sub_jobs", "sync_commitments", "sync_commitment_change_orders", "sync_prime_contracts",
		"sync_standard_cost_codes", "sync_contract_payments",
	} {
		t.Run(name, func(t *testing.T) {
			b := world(t)
			run(t, b, name)
			b.Procore.Take()
			for _, r := range gone {
				b.ERP.Delete(r)
			}
			b.Golden("gone_"+name, run(t, b, name))
		})
	}
}

// On the first sync nothing was staged yet, so nothing is archived.
func TestFirstSyncArchivesNothing(t *testing.T) {
	b := workertest.New(t)
	b.ERP.Delete(&record{Entity: vendor, OriginId: "V-1"})
	if run(t, b, "sync_vendors"); sizes(b) != "" {
		t.Error("a vendor was archived that Procore never had")
	}
}

// A staged vendor that the user imported is updated directly from then on.
func TestImportedVendorIsUpdatedDirectly(t *testing.T) {
	b := workertest.New(t)
	many(b, 1)
	run(t, b, "sync_vendors")
	b.ERP.Link("vendor", 32, "V-0")
	b.ERP.Add(&record{Entity: vendor, OriginId: "V-0", Name: "Renamed"})
	if run(t, b, "sync_vendors"); sizes(b) != "staged_records 1, vendors 1" {
		t.Error("not updated directly")
	}
}

// A record that was left out is synced once the record that it needs is synced.
func TestRecordsLeftOutAreTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		link []string
		want string
	}{
		"sync_prime_contracts":   {[]string{"project", "JOB-3"}, "staged_records 1"},
		"sync_contract_payments": {[]string{"requisition", "REQ-2"}, "invoice_payments 1"},
	} {
		t.Run(name, func(t *testing.T) {
			b := world(t)
			run(t, b, name)
			b.Procore.Take()
			b.ERP.Link(c.link[0], 900, c.link[1])
			run(t, b, name)
			if got := sizes(b); got != c.want {
				t.Error(got)
			}
		})
	}
}

// Ids that Procore returned but that a crash kept out of an outcome are requested again.
func TestIDsOfALostOutcomeAreRequestedAgain(t *testing.T) {
	for _, name := range []string{"sync_standard_cost_codes", "sync_standard_categories", "sync_contract_payments", "sync_single_job"} {
		t.Run(name, func(t *testing.T) {
			b := world(t)
			first := run(t, b, name)[0].Links
			for _, l := range first {
				b.ERP.Link(l.ItemType, l.ItemId, "") // as if the outcome had been lost
			}
			second := run(t, b, name)[0].Links
			if len(first) == 0 || fmt.Sprint(second) != fmt.Sprint(first) {
				t.Errorf("links %v, then %v", first, second)
			}
		})
	}
}

// Sub jobs are written per project; a batch stays below the 25 calls of the spike limit.
func TestSubJobBatchesStayBelowTheSpikeLimit(t *testing.T) {
	b := workertest.New(t)
	for i := range 50 {
		b.ERP.Link("project", int64(100+i), fmt.Sprint("JOB-", i))
		b.ERP.Link("sub_job", int64(200+i), fmt.Sprint("SUB-", i))
		b.ERP.Add(&record{Entity: subJob, OriginId: fmt.Sprint("SUB-", i), Name: "East", JobOriginId: fmt.Sprint("JOB-", i)})
	}
	b.Procore.Fail, b.Procore.FailFrom = 500, 24
	if _, err := b.Run(syncs.Handlers, "sync_sub_jobs", ""); err == nil {
		t.Fatal("no error")
	}
	if n := len(b.Procore.Take()); n != 23 {
		t.Fatal(n)
	}
	b.Procore.Fail = 0
	if run(t, b, "sync_sub_jobs"); len(b.Procore.Take()) != 30 {
		t.Error("it did not resume after the 20 calls of the first batch")
	}
}

// Restored books do not know their old cursors, so everything is read again.
func TestUnknownCursorStartsOver(t *testing.T) {
	for _, name := range []string{"sync_vendors", "sync_standard_cost_codes"} {
		b := world(t)
		run(t, b, name)
		first := sizes(b)
		b.ERP.ForgetCursors = true
		if run(t, b, name); sizes(b) == "" || first == "" {
			t.Error(name, "did not start over")
		}
	}
}
