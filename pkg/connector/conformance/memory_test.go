package conformance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/conformance/rehearsal"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// erp is a small, correct ERP in memory. It stands for the data on disk: a restart ends the open drivers and keeps
// the books.
type erp struct {
	mu      sync.Mutex
	records []*entry // in the order of their last change
	keys    map[string]*tiebackv1.Booking
	seq     int64
	named   int
	calls   atomic.Int64
	alive   context.Context // ends with the next restart
	end     context.CancelFunc
	hidden  map[int64]int // see early
	server  *server       // of its streams; nil: none
	flaw    flaw
}

type entry struct {
	*Record
	seq         int64
	gone        bool
	orderLatest string
}

func newERP(f flaw) *erp {
	e := &erp{keys: map[string]*tiebackv1.Booking{}, hidden: map[int64]int{}, flaw: f}
	e.alive, e.end = context.WithCancel(context.Background())
	return e
}

func (e *erp) restart(context.Context) error {
	if e.flaw.immune {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.end()
	e.alive, e.end = context.WithCancel(context.Background())
	if e.flaw.restart != nil {
		e.flaw.restart(e)
	}
	return nil
}

func (e *erp) open(context.Context) (connector.Driver, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var d connector.Driver = &memory{erp: e, alive: e.alive}
	if e.flaw.driver != nil {
		d = e.flaw.driver(d, e)
	}
	return d, nil
}

func (e *erp) target() Target {
	return Target{Company: 7, Other: 8, Open: e.open, Restart: e.restart, Rehearse: rehearse}
}

func rehearse(ctx context.Context, f rehearsal.Fault) (context.Context, error) {
	return rehearsal.With(ctx, f), nil
}

// memory is a driver of erp.
type memory struct {
	*erp
	alive context.Context
}

var refs = []Entity{standardCostCode, standardCategory, vendor, job, subJob, costCode, assignment, commitment, primeContract, directCost}

func isFixed(e Entity) bool { return e == commitment || e == primeContract || e == directCost }

func (m *memory) Capabilities(context.Context, *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	out := &tiebackv1.CapabilitiesResponse{Name: "Memory", MaxConcurrent: 8, Currency: "USD"}
	if m.server != nil {
		out.PutStream, out.MaxConcurrent = true, 0
	}
	for _, e := range refs {
		out.Entities = append(out.Entities, &can{Entity: e, Put: true, Update: !isFixed(e), List: true, State: true, Remove: true, Tax: isFixed(e), Retainage: isFixed(e), Currency: isFixed(e)})
	}
	return out, m.dead()
}

// dead returns the error of a call after the process ended.
func (m *memory) dead() error {
	if m.alive.Err() != nil {
		return fault.New(fault.Transient, errors.New("no connection"))
	}
	return nil
}

var errSuperseded = fault.Refused("request", "A newer request, or one made in the same second, changed it.")

var errBusy = fault.Wait(20*time.Millisecond, errors.New("too many requests"))

func (m *memory) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	if err := cmp.Or(m.dead(), ctx.Err()); err != nil {
		return nil, fault.New(fault.Transient, err)
	}
	switch rehearsal.Of(ctx) {
	case rehearsal.Throttled:
		return nil, errBusy
	case rehearsal.Slow:
		if !pause(ctx, rehearsal.Delay) {
			return nil, fault.New(fault.Transient, ctx.Err())
		}
	}
	b, err := m.book(q)
	if err != nil {
		return nil, err
	}
	if m.calls.Add(1)%3 == 0 {
		time.Sleep(2 * time.Millisecond) // the way back is slow
	}
	if m.alive.Err() != nil || ctx.Err() != nil || rehearsal.Of(ctx) == rehearsal.LostAnswer {
		return nil, fault.New(fault.Ambiguous, errors.New("connection reset"))
	}
	return &tiebackv1.PutResponse{Booking: b}, nil
}

func (m *memory) book(q *tiebackv1.PutRequest) (*tiebackv1.Booking, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := m.keys[q.Key]; b != nil {
		return proto.CloneOf(b), nil
	}
	r := proto.CloneOf(q.Record)
	old := m.at(r.Entity, r.OriginId)
	if err := cmp.Or(m.check(r), m.changeable(old, q)); err != nil {
		return nil, err
	}
	if old == nil {
		old = &entry{}
		m.name(r)
	}
	m.number(r)
	old.Record, old.gone, old.orderLatest = r, false, max(old.orderLatest, q.OrderLatest)
	m.touch(old)
	b := &tiebackv1.Booking{OriginId: r.OriginId, OriginCode: r.Code, Stamp: q.Stamp}
	for _, l := range r.Lines {
		b.LineOriginIds = append(b.LineOriginIds, l.OriginId)
	}
	m.keys[q.Key] = b
	return proto.CloneOf(b), nil
}

func (e *erp) name(r *Record) {
	e.named++
	r.OriginId = fmt.Sprintf("M-%d", e.named)
	if r.Entity == assignment {
		r.OriginId = connector.AssignmentID(r.CostCodeOriginId, r.CategoryOriginId)
	}
}

func (e *erp) number(r *Record) {
	for i, l := range r.Lines {
		l.OriginId = cmp.Or(l.OriginId, fmt.Sprintf("%s-%d", r.OriginId, i+1))
	}
}

func (e *erp) at(entity Entity, origin string) *entry {
	for _, r := range e.records {
		if r.Entity == entity && r.OriginId == origin && origin != "" {
			return r
		}
	}
	return nil
}

// touch moves a record to the end of the list.
func (e *erp) touch(r *entry) {
	e.seq++
	r.seq = e.seq
	e.records = append(slices.DeleteFunc(e.records, func(x *entry) bool { return x == r }), r)
}

func (m *memory) changeable(old *entry, q *tiebackv1.PutRequest) error {
	switch r := q.Record; {
	case r.Entity == assignment || r.OriginId == "":
		return nil
	case isFixed(r.Entity):
		return fault.Refused("", "A document can't be changed.")
	case old == nil || old.gone:
		return fault.Refused("origin_id", "There is no %s.", r.OriginId)
	case connector.Superseded(old.orderLatest, q):
		return errSuperseded
	}
	return nil
}

// check refuses a record that the ERP does not take.
func (m *memory) check(r *Record) error {
	if !slices.Contains(refs, r.Entity) {
		return fault.Permanentf("There are no records of the kind %v.", r.Entity)
	}
	if r.Entity == assignment {
		r.OriginId = connector.AssignmentID(r.CostCodeOriginId, r.CategoryOriginId)
	}
	err := cmp.Or(m.there(job, r.JobOriginId), m.there(subJob, r.SubJobOriginId), m.there(vendor, r.VendorOriginId),
		m.there(costCode, r.CostCodeOriginId), m.there(standardCategory, r.CategoryOriginId))
	for _, l := range r.Lines {
		err = cmp.Or(err, m.there(costCode, l.CostCodeOriginId))
	}
	for _, x := range m.records {
		if err == nil && r.Entity == job && x.Entity == job && !x.gone && x.Code == r.Code && x.OriginId != r.OriginId {
			err = fault.Refused("code", "Another job has the code %s.", r.Code)
		}
	}
	return err
}

func (m *memory) there(e Entity, origin string) error {
	if r := m.at(e, origin); origin != "" && (r == nil || r.gone) {
		return fault.Refused(connector.Noun(e), "There is no %s %s.", connector.Noun(e), origin)
	}
	return nil
}
