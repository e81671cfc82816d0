package endtoend

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/sandbox"
)

// Procore's ids do not increase. Each vendor is exported twice within a second, unlinked, and exported again. Whatever the ids
// are, the newest request determines the books and the marks.
func TestNewestRequestWinsInAnyOrderOfIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.run()
	grew, fell := 0, 0
	var vendors []int64
	for i := range 8 {
		vendor := w.minted("vendor")
		older := w.pressIn(firstCompany, "create_vendor", w.vendor(vendor, fmt.Sprint("Old ", i)))
		newer := w.pressIn(firstCompany, "create_vendor", w.vendor(vendor, fmt.Sprint("New ", i)))
		if newer > older {
			grew++
		} else {
			fell++
		}
		w.succeeded(newer)
		w.wait(older) // booked before, or refused as superseded
		vendors = append(vendors, vendor)
	}
	if grew == 0 || fell == 0 {
		t.Fatalf("%d pairs of ids grow and %d fall: both are needed", grew, fell)
	}
	books := w.sound(l.Ledger, firstCompany, ledger.Vendor)
	for i, vendor := range vendors {
		if r := bookedFor(books, vendor); len(r) != 1 || r[0].Name != fmt.Sprint("New ", i) || w.marked(vendor) != r[0].OriginId {
			t.Errorf("vendor %d is %v in the books, and marked as %q", i, r, w.marked(vendor))
		}
		w.removed(l, bookedFor(books, vendor)[0].OriginId)
		w.wait(w.pressIn(firstCompany, "unlink_vendor", w.unlinked(vendor)))
		w.succeeded(w.pressIn(firstCompany, "create_vendor", w.vendor(vendor, fmt.Sprint("Anew ", i))))
	}
	books = w.sound(l.Ledger, firstCompany, ledger.Vendor)
	for i, vendor := range vendors {
		if r := bookedFor(books, vendor); len(r) != 1 || r[0].Name != fmt.Sprint("Anew ", i) || w.marked(vendor) != r[0].OriginId {
			t.Errorf("vendor %d, unlinked and exported anew, is %v in the books, and marked as %q", i, r, w.marked(vendor))
		}
	}
}

// unlinked returns an unlink_vendor payload for a vendor.
func (w *world) unlinked(vendor int64) map[string]any {
	w.Helper()
	payload, err := w.sandbox.Sample(firstCompany, "unlink_vendor", nil)
	w.must(err)
	sandbox.Set(payload, "request_data.vendor.id", vendor)
	sandbox.Set(payload, "request_data.vendor.origin_id", w.marked(vendor))
	return payload
}

// removed deletes a vendor in the ERP.
func (w *world) removed(l *line, origin string) {
	w.Helper()
	books, err := l.Ledger.Company(w.Context(), firstCompany)
	w.must(err)
	_, err = books.Remove(w.Context(), &tiebackv1.RemoveRequest{CompanyId: firstCompany, Entity: ledger.Vendor, OriginId: origin})
	w.must(err)
	w.must(books.Close())
}

// bookedFor returns the bookings of a record of Procore.
func bookedFor(all []*ledger.Record, id int64) []*ledger.Record {
	var out []*ledger.Record
	for _, r := range all {
		if r.ProcoreId == id {
			out = append(out, r)
		}
	}
	return out
}

// A direct cost names a vendor that is booked but not yet reported, so there is no link. The booking is found in the ERP.
func TestBookedReferenceIsFoundBeforeItIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.runWith(services{"status-reporter": nil})
	vendor := w.minted("vendor")
	w.pressIn(firstCompany, "create_vendor", w.vendor(vendor, "Acme"))
	l.await(bus.Outcome, 1)
	cost, err := w.sandbox.Sample(firstCompany, "create_company_level_direct_cost", nil)
	w.must(err)
	for field, value := range map[string]any{"vendor.id": fmt.Sprint(vendor), "vendor.origin_id": nil, "vendor.origin_code": nil, "line_items": []any{}} {
		sandbox.Set(cost, "request_data.direct_cost."+field, value)
	}
	w.pressIn(firstCompany, "create_company_level_direct_cost", cost)
	o := &tiebackv1.Outcome{}
	w.must(proto.Unmarshal(l.await(bus.Outcome, 2)[1].Data(), o))
	if o.CloseOuts[0].Status != tiebackv1.Status_STATUS_SUCCESS {
		t.Fatalf("%v", o)
	}
	vendors, costs := w.sound(l.Ledger, firstCompany, ledger.Vendor), w.sound(l.Ledger, firstCompany, ledger.DirectCost)
	if len(vendors) != 1 || len(costs) != 1 || costs[0].VendorOriginId != vendors[0].OriginId {
		t.Errorf("the books have %v, of %v", costs, vendors)
	}
}
