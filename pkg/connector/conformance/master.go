package conformance

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func clone(q *tiebackv1.PutRequest) *tiebackv1.PutRequest { return proto.CloneOf(q) }

// master returns a record that others refer to, one per run and entity: it is booked if the connector takes
// it, otherwise it is the first one that the ERP lists.
func (s *suite) master(ctx context.Context, e Entity) *tiebackv1.Booking {
	if b := s.masters[e]; b != nil {
		return b
	}
	b := s.newMaster(ctx, e)
	s.masters[e] = b
	if e == costCode {
		s.assign(ctx, b.OriginId, s.master(ctx, standardCategory).OriginId)
	}
	return b
}

func (s *suite) newMaster(ctx context.Context, e Entity) *tiebackv1.Booking {
	switch {
	case s.has(e, puts):
		_, b := s.book(ctx, e)
		return b
	case s.has(e, lists):
		return s.listed(ctx, e)
	}
	panic(failure{leaveOut("it needs %s, but the connector neither takes nor lists %s", aNoun(e), connector.Plural(e))})
}

// listed returns a record that the ERP has. A cost code is one of the job in use.
func (s *suite) listed(ctx context.Context, e Entity) *tiebackv1.Booking {
	q := &tiebackv1.ListRequest{Entity: e}
	if e == costCode {
		q.JobOriginId = s.master(ctx, job).OriginId
	}
	all, _ := s.changes(ctx, q)
	for _, c := range all {
		if !c.Deleted {
			b := &tiebackv1.Booking{OriginId: c.Record.OriginId}
			for _, l := range c.Record.Lines {
				b.LineOriginIds = append(b.LineOriginIds, l.OriginId)
			}
			return b
		}
	}
	panic(failure{leaveOut("it needs %s, but the ERP has none: make one there", aNoun(e))})
}

// assign adds a category to a cost code, if the connector takes assignments.
func (s *suite) assign(ctx context.Context, code, category string) {
	if s.has(assignment, puts) {
		s.put(ctx, s.main, s.putOf(&Record{Entity: assignment, ProcoreId: s.id(), CostCodeOriginId: code, CategoryOriginId: category}))
	}
}
