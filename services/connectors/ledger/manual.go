package ledger

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
)

// Changes by the ERP's own users, without a key. The command line and the demo use them.

// Add creates a record and returns it with its origin ids. It refuses what Put refuses, and a record with an origin id.
func (b *Books) Add(ctx context.Context, r *Record) (*Record, error) {
	if r.GetOriginId() != "" && !natural(r.GetEntity()) {
		return nil, fault.Refused("origin_id", "The ledger assigns origin ids: leave %q out, or update the %s.", r.GetOriginId(), Title(r.GetEntity()))
	}
	return b.byHand(ctx, r)
}

// Update replaces a record with an origin id, with its lines and journal entries. Lines that r lacks are removed. Unlike
// Put, it changes documents too.
func (b *Books) Update(ctx context.Context, r *Record) (*Record, error) {
	if r.GetOriginId() == "" {
		return nil, fault.Refused("origin_id", "The %s has no origin id. Give the id of the record to update.", call(r))
	}
	return b.byHand(ctx, r)
}

func (b *Books) byHand(ctx context.Context, r *Record) (out *Record, err error) {
	err = b.writer.do(ctx, func(t *tx) error {
		row, _, err := t.write(proto.CloneOf(r), false)
		if err == nil {
			_, err = t.numbered(row)
		}
		if err == nil {
			out = row.rec
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Get returns a live record with its lines. It refuses the id of a deleted record and an unknown id.
func (b *Books) Get(ctx context.Context, e Entity, originID string) (*Record, error) {
	r, err := b.row(ctx, e, originID)
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		return nil, missing(e, originID)
	case r.deleted:
		return nil, fault.Refused("origin_id", "The %s %q was deleted.", Title(e), originID)
	}
	return r.rec, nil
}

// Delete removes a record by hand, like Remove. It refuses an unknown id.
func (b *Books) Delete(ctx context.Context, e Entity, originID string) error {
	return b.writer.do(ctx, func(t *tx) error {
		r, err := t.find(e, originID)
		switch {
		case err != nil:
			return err
		case r == nil:
			return missing(e, originID)
		}
		return t.remove(r, "deleted: "+call(r.rec))
	})
}

func missing(e Entity, originID string) error {
	return fault.Refused("origin_id", "There is no %s %q in the ledger.", Title(e), originID)
}

// All returns the live records of an entity in the order of their creation.
func (b *Books) All(ctx context.Context, e Entity) ([]*Record, error) {
	rows, err := b.rows(ctx, "r.entity = ? AND r.deleted = 0 ORDER BY r.id", int(e))
	if err != nil {
		return nil, err
	}
	var out []*Record
	for _, r := range rows {
		out = append(out, r.rec)
	}
	return out, nil
}
