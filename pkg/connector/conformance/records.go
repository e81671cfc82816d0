package conformance

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/shopspring/decimal"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Short names of the entities.
const (
	standardCostCode = tiebackv1.Entity_ENTITY_STANDARD_COST_CODE
	standardCategory = tiebackv1.Entity_ENTITY_STANDARD_CATEGORY
	vendor           = tiebackv1.Entity_ENTITY_VENDOR
	insurance        = tiebackv1.Entity_ENTITY_INSURANCE
	job              = tiebackv1.Entity_ENTITY_JOB
	subJob           = tiebackv1.Entity_ENTITY_SUB_JOB
	costCode         = tiebackv1.Entity_ENTITY_COST_CODE
	assignment       = tiebackv1.Entity_ENTITY_COST_TYPE_ASSIGNMENT
	jobCost          = tiebackv1.Entity_ENTITY_JOB_COST
	budget           = tiebackv1.Entity_ENTITY_BUDGET
	commitment       = tiebackv1.Entity_ENTITY_COMMITMENT
	changeOrder      = tiebackv1.Entity_ENTITY_COMMITMENT_CHANGE_ORDER
	requisition      = tiebackv1.Entity_ENTITY_REQUISITION
	payment          = tiebackv1.Entity_ENTITY_PAYMENT
	primeContract    = tiebackv1.Entity_ENTITY_PRIME_CONTRACT
	primeChangeOrder = tiebackv1.Entity_ENTITY_PRIME_CONTRACT_CHANGE_ORDER
	application      = tiebackv1.Entity_ENTITY_PAYMENT_APPLICATION
	directCost       = tiebackv1.Entity_ENTITY_DIRECT_COST
)

// documents are the entities with lines that have amounts, the simplest first.
var documents = []Entity{commitment, directCost, changeOrder, primeContract, primeChangeOrder, application, requisition, budget}

// needs lists the master data that the records of an entity refer to.
var needs = map[Entity][]Entity{
	insurance: {vendor}, subJob: {job}, costCode: {job}, assignment: {costCode, standardCategory},
	commitment: {vendor, job, costCode, standardCategory}, changeOrder: {commitment, costCode, standardCategory},
	requisition: {commitment, costCode, standardCategory}, payment: {requisition},
	primeContract: {job, costCode, standardCategory}, primeChangeOrder: {primeContract, costCode, standardCategory},
	application: {primeContract}, directCost: {vendor, job, costCode, standardCategory},
	budget: {standardCategory},
}

// newPut returns the put of a new record, with a key, a request and a stamp like Tieback's. The master data
// that it needs is in the books.
func (s *suite) newPut(ctx context.Context, e Entity) *tiebackv1.PutRequest {
	r := &Record{Entity: e, ProcoreId: s.id()}
	r.Name = fmt.Sprintf("%s %s %d", s.target.Unique, connector.Noun(e), r.ProcoreId%(1<<20))
	s.fill(r, s.needed(ctx, e))
	return s.putOf(r)
}

// needed returns the origin ids that a new record of the entity refers to. An ERP without cost codes or cost
// types has documents without them.
func (s *suite) needed(ctx context.Context, e Entity) map[Entity]string {
	have := map[Entity]string{}
	for _, need := range needs[e] {
		err := catch(func() error {
			have[need] = s.master(ctx, need).OriginId
			return nil
		})
		if isLeftOut(err) && isDocument(e) && (need == costCode || need == standardCategory) {
			continue
		}
		check(err)
	}
	switch e {
	case budget: // a job has one budget
		s.newSite(ctx, have)
	case assignment: // a cost code has one assignment per cost type
		_, b := s.book(ctx, costCode)
		have[costCode] = b.OriginId
	default:
	}
	return have
}

// putOf returns the put of a record in its first generation.
func (s *suite) putOf(r *Record) *tiebackv1.PutRequest {
	q := &tiebackv1.PutRequest{CompanyId: s.target.Company, Key: connector.Key(s.target.Company, r.Entity, r.ProcoreId, ""), Record: r}
	setRequest(q, s.request(), r.Name)
	return q
}

// setRequest sets the request of a put.
func setRequest(q *tiebackv1.PutRequest, request order.Key, stamp string) {
	q.Request, q.Order, q.OrderLatest, q.Stamp = request.Request(), string(request), string(request.Latest()), fmt.Sprintf("%s:%s", request, stamp)
}

// changeOf returns the put that changes a booked record in place.
func (s *suite) changeOf(q *tiebackv1.PutRequest, b *tiebackv1.Booking, request order.Key, change func(*Record)) *tiebackv1.PutRequest {
	c := clone(q)
	setRequest(c, request, "changed")
	c.Record.OriginId, c.Key = b.OriginId, fmt.Sprintf("%s/%d", q.Key, request.Request())
	for i, l := range c.Record.Lines {
		l.OriginId = b.LineOriginIds[i]
	}
	change(c.Record)
	return c
}

// newSite makes a new job with a cost code and an assignment.
func (s *suite) newSite(ctx context.Context, have map[Entity]string) {
	_, b := s.book(ctx, job)
	have[job] = b.OriginId
	q := s.newPut(ctx, costCode)
	q.Record.JobOriginId = have[job]
	have[costCode] = s.put(ctx, s.main, q).OriginId
	s.assign(ctx, have[costCode], have[standardCategory])
}

// fill sets the fields of a new record.
func (s *suite) fill(r *Record, have map[Entity]string) {
	n := strconv.FormatInt(r.ProcoreId%(1<<20), 36)
	switch r.Entity {
	case standardCostCode, standardCategory, job, subJob, costCode:
		r.Code = s.target.Unique + "-" + n
	case insurance:
		r.ParentOriginId, r.Number, r.StartsOn, r.EndsOn, r.Amount = have[vendor], "POL-"+n, "2026-01-01", "2026-12-31", "1000000"
	case payment:
		r.ParentOriginId, r.Number, r.Date, r.Amount = have[requisition], "CHK-"+n, "2026-03-31", "10.50"
	case commitment:
		r.Kind = "purchase_order_contract"
	case directCost:
		r.Kind = "invoice"
	default:
	}
	r.JobOriginId = have[job]
	r.VendorOriginId = have[vendor]
	r.CostCodeOriginId, r.CategoryOriginId = "", ""
	switch r.Entity {
	case changeOrder, requisition:
		r.ContractOriginId = have[commitment]
	case primeChangeOrder, application:
		r.ContractOriginId = have[primeContract]
	case assignment:
		r.Name, r.CostCodeOriginId, r.CategoryOriginId = "", have[costCode], have[standardCategory]
	default:
	}
	if isDocument(r.Entity) {
		r.Number, r.Date = s.target.Unique+"-"+n, "2026-03-31"
		s.lines(r, have, "100.25", "10.50")
	}
}

func isDocument(e Entity) bool { return slices.Contains(documents, e) }

// lines sets the lines of a document, one for each amount, and its total.
func (s *suite) lines(r *Record, have map[Entity]string, amounts ...string) {
	r.Lines = nil
	sum := decimal.Zero
	for i, a := range amounts {
		l := &tiebackv1.Line{
			ProcoreId: s.id(), Position: int32(i + 1), Description: fmt.Sprintf("line %d", i+1), Amount: a, Quantity: "1", UnitCost: a,
			CostCodeOriginId: have[costCode], CategoryOriginId: have[standardCategory],
		}
		switch r.Entity {
		case budget:
			l.Kind = "erp_transaction"
		case requisition:
			l.Kind = "requisition_contract_item"
			if of := s.masters[commitment].GetLineOriginIds(); len(of) > 0 {
				l.ContractLineOriginId = of[0]
			}
		default:
		}
		r.Lines = append(r.Lines, l)
		sum = sum.Add(decimal.RequireFromString(a))
	}
	r.Amount = sum.String()
}

// setLines replaces the lines of a put's record with lines on the same cost code.
func (s *suite) setLines(q *tiebackv1.PutRequest, amounts ...string) {
	l := q.Record.Lines[0]
	s.lines(q.Record, map[Entity]string{costCode: l.CostCodeOriginId, standardCategory: l.CategoryOriginId}, amounts...)
}
