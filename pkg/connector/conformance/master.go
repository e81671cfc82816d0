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
func (s *suite) master(ctx context.Context, e Entity) (*tiebackv1.Booking, error) {
	if b := s.masters[e]; b != nil {
		return b, nil
	}
	b, err := s.newMaster(ctx, e)
	if err != nil {
		return nil, err
	}
	s.masters[e] = b
	if e == costCode {
		category, err := s.master(ctx, standardCategory)
		if err != nil {
			return nil, err
		}
		return b, s.assign(ctx, b.OriginId, category.OriginId)
	}
	return b, nil
}

func (s *suite) newMaster(ctx context.Context, e Entity) (*tiebackv1.Booking, error) {
	switch c := s.cans[e]; {
	case c != nil && c.Put:
		_, b, err := s.book(ctx, e)
		return b, err
	case c != nil && c.List:
		return s.listed(ctx, e)
	}
	return nil, leaveOut("it needs %s, but the connector neither takes nor lists %s", aNoun(e), connector.Plural(e))
}

// listed returns a record that the ERP has. A cost code is one of the job in use.
func (s *suite) listed(ctx context.Context, e Entity) (*tiebackv1.Booking, error) {
	q := &tiebackv1.ListRequest{Entity: e}
	if e == costCode {
		b, err := s.master(ctx, job)
		if err != nil {
			return nil, err
		}
		q.JobOriginId = b.OriginId
	}
	all, _, err := s.changes(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if !c.Deleted {
			b := &tiebackv1.Booking{OriginId: c.Record.OriginId}
			for _, l := range c.Record.Lines {
				b.LineOriginIds = append(b.LineOriginIds, l.OriginId)
			}
			return b, nil
		}
	}
	return nil, leaveOut("it needs %s, but the ERP has none: make one there", aNoun(e))
}

// assign adds a category to a cost code, if the connector takes assignments.
func (s *suite) assign(ctx context.Context, code, category string) error {
	if c := s.cans[assignment]; c == nil || !c.Put {
		return nil
	}
	r := &Record{Entity: assignment, ProcoreId: s.id(), CostCodeOriginId: code, CategoryOriginId: category}
	_, err := s.put(ctx, s.main, s.putOf(r))
	return err
}
