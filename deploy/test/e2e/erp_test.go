package endtoend

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors/ledger"
)

// yesERP is an ERP that accepts everything, so that a test sees only the calls to Procore. Bookings get consecutive origin ids:
// ERP-VENDOR-1, its lines ERP-VENDOR-1-1 … Records that are unlinked or reset are deleted in it. It lists the same records in
// every job.
type yesERP struct {
	mu       sync.Mutex
	bookings map[string]*tiebackv1.Booking
	count    map[tiebackv1.Entity]int
}

// yesERPs opens a yesERP for each company.
func yesERPs() connector.Opener {
	var mu sync.Mutex
	all := map[int64]*yesERP{}
	return func(_ context.Context, company int64, _ map[string]string) (connector.Driver, error) {
		mu.Lock()
		defer mu.Unlock()
		if all[company] == nil {
			all[company] = &yesERP{bookings: map[string]*tiebackv1.Booking{}, count: map[tiebackv1.Entity]int{}}
		}
		return all[company], nil
	}
}

func (e *yesERP) Capabilities(context.Context, *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	out := &tiebackv1.CapabilitiesResponse{Name: "yes", Version: "1"}
	for _, entity := range ledger.Entities() {
		out.Entities = append(out.Entities, &tiebackv1.EntityCapability{Entity: entity, Put: true, Update: true, List: true, State: true, Remove: true, Tax: true, Retainage: true, Currency: true})
	}
	return out, nil
}

func (e *yesERP) Put(_ context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.bookings[q.Key] == nil {
		e.count[q.Record.Entity]++
		b := &tiebackv1.Booking{OriginId: q.Record.OriginId, OriginCode: q.Record.Code, OriginData: q.Record.OriginData}
		if b.OriginId == "" {
			name := strings.ReplaceAll(strings.TrimPrefix(q.Record.Entity.String(), "ENTITY_"), "_", "-")
			b.OriginId = fmt.Sprintf("ERP-%s-%d", name, e.count[q.Record.Entity])
		}
		for i := range q.Record.Lines {
			b.LineOriginIds = append(b.LineOriginIds, fmt.Sprintf("%s-%d", b.OriginId, i+1))
		}
		e.bookings[q.Key] = b
	}
	return &tiebackv1.PutResponse{Booking: e.bookings[q.Key]}, nil
}

func (e *yesERP) Find(_ context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return &tiebackv1.FindResponse{Booking: e.bookings[q.Key]}, nil
}

func (e *yesERP) State(context.Context, *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	return &tiebackv1.StateResponse{State: tiebackv1.RecordState_RECORD_STATE_DELETED}, nil
}

func (e *yesERP) Remove(context.Context, *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	return &tiebackv1.RemoveResponse{}, nil
}

func (e *yesERP) Close() error { return nil }

// List returns the records of the given job, or of the job J-LINKED.
func (e *yesERP) List(_ context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	page := &tiebackv1.ListResponse{Cursor: "1"}
	if q.Cursor != "" {
		return page, nil
	}
	for _, r := range listed {
		if r.Entity != q.Entity || q.ParentOriginId != "" && r.ParentOriginId != "" && r.Entity != ledger.Insurance {
			continue
		}
		r = proto.Clone(r).(*tiebackv1.Record)
		switch r.Entity {
		case ledger.CostCode, ledger.CostTypeAssignment, ledger.JobCost:
			r.JobOriginId, r.SubJobOriginId = q.JobOriginId, q.SubJobOriginId
		case ledger.SubJob:
			if q.JobOriginId != "" {
				r.JobOriginId = q.JobOriginId
			}
		case ledger.Insurance:
			r.ParentOriginId = q.ParentOriginId
			if r.ParentOriginId == "" {
				r.ParentOriginId = "origin_id1" // of the sample of link_all_vendors
			}
		}
		page.Changes = append(page.Changes, &tiebackv1.Change{Record: r})
	}
	return page, nil
}

// listed has the records of yesERP: of each staged kind one that Procore has (…-LINKED, see given) and one that is new. The
// other names are those of the published samples.
var listed = []*tiebackv1.Record{
	{Entity: ledger.StandardCostCode, OriginId: "SCC-1", Code: "01", Name: "Site"},
	{Entity: ledger.StandardCostCode, OriginId: "SCC-2", Code: "01-100", Name: "Clearing", ParentOriginId: "SCC-1"},
	{Entity: ledger.StandardCategory, OriginId: "L", Code: "L", Name: "Labor", Kind: "labor"},
	{Entity: ledger.Vendor, OriginId: "V-LINKED", Code: "ACME", Name: "Acme Concrete"},
	{Entity: ledger.Vendor, OriginId: "V-NEW", Code: "BOLT", Name: "Bolt Steel"},
	{Entity: ledger.Insurance, OriginId: "INS-1", Name: "Liability", Number: "P-77", Kind: "general_liability", Amount: "1000000.00", StartsOn: "2026-01-01", EndsOn: "2026-12-31"},
	{Entity: ledger.Job, OriginId: "J-LINKED", Code: "J1", Name: "Big Skyscraper"},
	{Entity: ledger.Job, OriginId: "J-NEW", Code: "J2", Name: "Small Shed"},
	{Entity: ledger.Job, OriginId: "project_origin_id", Code: "J3", Name: "Test Project"},
	{Entity: ledger.SubJob, OriginId: "SJ-LINKED", JobOriginId: "J-LINKED", Code: "S1", Name: "Floor 1"},
	{Entity: ledger.SubJob, OriginId: "SJ-NEW", JobOriginId: "J-LINKED", Code: "S2", Name: "Floor 2"},
	{Entity: ledger.SubJob, OriginId: "sub_job_origin_id", JobOriginId: "sub_jobs_project_origin_id", Code: "S3", Name: "Test Subjob"},
	{Entity: ledger.CostCode, OriginId: "CC-1", Code: "01", Name: "Site"},
	{Entity: ledger.CostCode, OriginId: "CC-2", Code: "01-100", Name: "Clearing", ParentOriginId: "CC-1", StandardOriginId: "SCC-LINKED"},
	{Entity: ledger.CostTypeAssignment, OriginId: "CC-2|LIT-LINKED", CostCodeOriginId: "CC-2", CategoryOriginId: "LIT-LINKED"},
	{Entity: ledger.JobCost, OriginId: "CC-2|LIT-LINKED", CostCodeOriginId: "CC-2", CategoryOriginId: "LIT-LINKED", Amount: "1000.00", ActualAmount: "250.10"},
	{Entity: ledger.Commitment, OriginId: "PO-NEW", Kind: "purchase_order_contract", JobOriginId: "J-LINKED", VendorOriginId: "V-LINKED", Code: "PO-1", Name: "Rebar", Amount: "1200.05", Lines: oneLine("PO-NEW-1", "1200.05")},
	{Entity: ledger.Commitment, OriginId: "WO-NEW", Kind: "work_order_contract", JobOriginId: "J-LINKED", VendorOriginId: "V-LINKED", Code: "WO-1", Name: "Pouring", Amount: "300.00", Lines: oneLine("WO-NEW-1", "300.00")},
	{Entity: ledger.CommitmentChangeOrder, OriginId: "CCO-NEW", JobOriginId: "J-LINKED", ContractOriginId: "PO-NEW", Code: "1", Name: "More rebar", Amount: "10.00", Lines: oneLine("CCO-NEW-1", "10.00")},
	{Entity: ledger.PrimeContract, OriginId: "PC-NEW", JobOriginId: "J-LINKED", Code: "PC-1", Name: "The tower", Amount: "9999.99", Lines: oneLine("PC-NEW-1", "9999.99")},
	{Entity: ledger.Payment, OriginId: "PAY-NEW", ParentOriginId: "REQ-LINKED", Number: "1001", Date: "2026-11-01", Amount: "50.00"},
}

func oneLine(origin, amount string) []*tiebackv1.Line {
	return []*tiebackv1.Line{{OriginId: origin, Description: "All of it", Amount: amount, Quantity: "1", UnitCost: amount, Unit: "ls", CostCodeOriginId: "CC-LINKED", CategoryOriginId: "LIT-LINKED", Position: 1}}
}

// given has the records that are linked before each event.
var given = []struct{ itemType, origin string }{
	{"vendor", "V-LINKED"}, {"project", "J-LINKED"}, {"sub_job", "SJ-LINKED"}, {"cost_code", "CC-LINKED"},
	{"line_item_type", "LIT-LINKED"}, {"standard_cost_code", "SCC-LINKED"}, {"requisition", "REQ-LINKED"},
}

// givenFor has records that must be exported before the sample of an event type.
var givenFor = map[string]struct{ itemType, at, origin string }{
	"create_payment":                 {"requisition", "request_data.contract_payment.requisition_id", "REQ-BEFORE"},
	"create_commitment_change_order": {"work_order_contract", "request_data.commitment.id", "WO-BEFORE"},
}
