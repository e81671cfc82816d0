package syncs_test

import (
	"testing"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker/workertest"
)

// A standard cost code came from Procore, was reset there and deleted. The ERP kept it, with its old Procore
// id: the next sync creates it under a new id.
func TestSyncRecreatesACodeThatProcoreDeleted(t *testing.T) {
	b := workertest.New(t)
	b.ERP.Add(&record{Entity: tiebackv1.Entity_ENTITY_STANDARD_COST_CODE, OriginId: "SCC-1", ProcoreId: 5, Code: "1", Name: "A"})
	b.Procore.Deleted = map[int64]bool{5: true}
	out := run(t, b, "sync_standard_cost_codes")
	if len(out) == 0 || out[0].Status != tiebackv1.Status_STATUS_SUCCESS {
		t.Fatal(out)
	}
	links, err := b.ERP.Links(t.Context(), 7, "standard_cost_code")
	if id := links["SCC-1"]; err != nil || id == 0 || id == 5 {
		t.Errorf("linked as %v, error %v", links, err)
	}
}
