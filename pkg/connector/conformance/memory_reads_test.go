package conformance

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func (m *memory) Find(ctx context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if q.CompanyId != 7 {
		return nil, fault.Permanentf("Not this company.")
	}
	return &tiebackv1.FindResponse{Booking: proto.CloneOf(m.keys[q.Key])}, cmp.Or(m.dead(), ctx.Err())
}

func (m *memory) List(ctx context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	after, err := strconv.ParseInt(cmp.Or(q.Cursor, "0"), 10, 64)
	switch {
	case err != nil:
		return nil, fault.Refused("cursor", "The cursor %q is unknown.", q.Cursor)
	case q.CompanyId != 7 || !slices.Contains(refs, q.Entity):
		return nil, fault.Permanentf("Not here.")
	}
	out := &tiebackv1.ListResponse{Cursor: strconv.FormatInt(after, 10)}
	for _, r := range m.records {
		if r.seq <= after || r.Entity != q.Entity || q.JobOriginId != "" && r.JobOriginId != q.JobOriginId || q.SubJobOriginId != "" && r.SubJobOriginId != q.SubJobOriginId {
			continue
		}
		if len(out.Changes) == int(cmp.Or(q.Limit, 10)) {
			out.More = true
			break
		}
		out.Changes = append(out.Changes, r.change())
		out.Cursor = strconv.FormatInt(r.seq, 10)
	}
	return out, cmp.Or(m.dead(), ctx.Err())
}

func (r *entry) change() *tiebackv1.Change {
	if r.gone {
		return &tiebackv1.Change{Deleted: true, Record: &Record{Entity: r.Entity, OriginId: r.OriginId, ProcoreId: r.ProcoreId}}
	}
	return &tiebackv1.Change{Record: proto.CloneOf(r.Record)}
}

func (m *memory) State(ctx context.Context, q *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(refs, q.Entity) {
		return nil, fault.Permanentf("Not here.")
	}
	state := present
	if r := m.at(q.Entity, q.OriginId); r == nil {
		state = unknown
	} else if r.gone {
		state = deleted
	}
	return &tiebackv1.StateResponse{State: state}, cmp.Or(m.dead(), ctx.Err())
}

func (m *memory) Remove(_ context.Context, q *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(refs, q.Entity) {
		return nil, fault.Permanentf("Not here.")
	}
	for _, r := range m.records {
		if q.Entity == vendor && r.VendorOriginId == q.OriginId && !r.gone {
			return nil, fault.Permanentf("The commitment %s depends on it.", r.OriginId)
		}
	}
	if r := m.at(q.Entity, q.OriginId); r != nil && !r.gone {
		if connector.Superseded(r.orderLatest, q) {
			return nil, errSuperseded
		}
		r.gone = true
		m.touch(r)
	}
	return &tiebackv1.RemoveResponse{}, m.dead()
}

func (m *memory) Close() error { return nil }
