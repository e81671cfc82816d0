package syncs

import (
	"context"
	"iter"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
)

// maxCalls is the number of calls to Procore at which a batch is full. It is below Procore's spike limit, so that a
// sync can write at least one batch before it is throttled, and the next attempt continues from there.
const maxCalls = 20

// feed passes the changes of an entity to the function write, in batches that fill a call to Procore.
//
//	changed since the cursor                              written, then the cursor is saved
//	older, in the position's list of waiting records      tried again
//	older, the function missing (if not nil) selects it   written, because Procore should have the record, but it is not linked
type feed struct {
	entity  tiebackv1.Entity
	limit   int32                         // records per page; 0: as many as fill a call
	calls   func([]*tiebackv1.Change) int // calls that a batch needs; nil: one
	missing func(*tiebackv1.Record) bool  // whether a record should be in Procore but is not linked; nil: never
	write   func(context.Context, batch) (map[string]bool, error)
}

// batch is a set of changes.
type batch struct {
	changes []*tiebackv1.Change
	first   bool // no sync ran before, so Procore has no record from the ERP
}

func (f feed) run(ctx context.Context, t *worker.Task) error {
	pos, err := loadPosition(ctx, t, f.entity)
	if err != nil {
		return err
	}
	start, old := pos.saved.Cursor, pos.saved.Waiting
	seen, err := f.changes(ctx, t, pos)
	if err != nil || start == "" {
		return err
	}
	waiting := map[string]bool{}
	for _, origin := range old {
		if !seen[origin] {
			waiting[origin] = true
		}
	}
	if f.missing == nil && len(waiting) == 0 {
		return nil
	}
	if err := f.writeOlder(ctx, t, pos, func(c *tiebackv1.Change) bool {
		if seen[c.Record.OriginId] {
			return false
		}
		due := waiting[c.Record.OriginId] || f.missing != nil && !c.Deleted && f.missing(c.Record)
		delete(waiting, c.Record.OriginId)
		return due
	}); err != nil {
		return err
	}
	return pos.forget(ctx, waiting) // what is left in waiting was not in the ERP's list
}

// changes writes what changed since the saved position and returns the origin ids of these records.
func (f feed) changes(ctx context.Context, t *worker.Task, pos *position) (map[string]bool, error) {
	seen := map[string]bool{}
	b := batch{first: pos.saved.Cursor == ""}
	for page, err := range changesSince(ctx, t, f.request(pos.saved.Cursor)) {
		if err != nil {
			return nil, err
		}
		b.changes = append(b.changes, page.Changes...)
		if page.More && !f.fills(b.changes) {
			continue
		}
		retry, err := f.write(ctx, b)
		if err != nil {
			return nil, err
		}
		if err := pos.advance(ctx, b.changes, retry, page.Cursor); err != nil {
			return nil, err
		}
		for _, c := range b.changes {
			seen[c.Record.OriginId] = true
		}
		b.changes = nil
	}
	return seen, nil
}

// writeOlder writes the records from before the saved position for which the function due returns true. It reads
// the ERP's list from the start.
func (f feed) writeOlder(ctx context.Context, t *worker.Task, pos *position, due func(*tiebackv1.Change) bool) error {
	var b batch
	for page, err := range t.ERP.Changes(ctx, f.request("")) {
		if err != nil {
			return err
		}
		for _, c := range page.Changes {
			if due(c) {
				b.changes = append(b.changes, c)
			}
		}
		if page.More && !f.fills(b.changes) {
			continue
		}
		retry, err := f.write(ctx, b)
		if err != nil {
			return err
		}
		if err := pos.advance(ctx, b.changes, retry, pos.saved.Cursor); err != nil {
			return err
		}
		b.changes = nil
	}
	return nil
}

// changesSince pages through the changes since a cursor. If the ERP no longer knows the cursor, for example
// because its books were restored or moved, changesSince starts over.
func changesSince(ctx context.Context, t *worker.Task, req *tiebackv1.ListRequest) iter.Seq2[*tiebackv1.ListResponse, error] {
	return func(yield func(*tiebackv1.ListResponse, error) bool) {
		unknown := false
		for page, err := range t.ERP.Changes(ctx, req) {
			if unknown = err != nil && fault.Field(err) == "cursor" && req.Cursor != ""; unknown {
				break
			}
			if !yield(page, err) {
				return
			}
		}
		if !unknown {
			return
		}
		req.Cursor = ""
		t.ERP.Changes(ctx, req)(yield)
	}
}

func (f feed) request(cursor string) *tiebackv1.ListRequest {
	limit := f.limit
	if limit == 0 {
		limit = procore.MaxUpdates
	}
	return &tiebackv1.ListRequest{Entity: f.entity, Cursor: cursor, Limit: limit}
}

func (f feed) fills(changes []*tiebackv1.Change) bool {
	return len(changes) >= procore.MaxUpdates || f.calls != nil && f.calls(changes) >= maxCalls
}
