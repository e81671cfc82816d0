package syncs

import (
	"context"
	"iter"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
)

// maxCalls is how many calls a batch may need. It is below Procore's spike limit, so that a
// sync that is throttled has got on by a batch, and does not start over forever.
const maxCalls = 20

// feed hands an entity's changes to write, in batches that fill a call to Procore.
//
//	since the cursor                      written, then the bookmark moves
//	before it, waiting                    tried again
//	before it, missing (if there is one)  written: Procore should have it, we know of no link
type feed struct {
	entity  tiebackv1.Entity
	limit   int32                         // records a page; 0: what fills a call
	calls   func([]*tiebackv1.Change) int // calls that a batch needs; nil: one
	missing func(*tiebackv1.Record) bool  // nil: none is
	write   func(context.Context, batch) (map[string]bool, error)
}

// batch is some changes. First: there was no sync before, Procore has nothing of ours.
type batch struct {
	changes []*tiebackv1.Change
	first   bool
}

func (f feed) run(ctx context.Context, t *worker.Task) error {
	mark, err := openBookmark(ctx, t, f.entity)
	if err != nil {
		return err
	}
	start, old := mark.saved.Cursor, mark.saved.Waiting
	seen, err := f.changes(ctx, t, mark)
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
	if err := f.before(ctx, t, mark, func(c *tiebackv1.Change) bool {
		if seen[c.Record.OriginId] {
			return false
		}
		due := waiting[c.Record.OriginId] || f.missing != nil && !c.Deleted && f.missing(c.Record)
		delete(waiting, c.Record.OriginId)
		return due
	}); err != nil {
		return err
	}
	return mark.forget(ctx, waiting)
}

// changes writes what changed since the bookmark and says which records that were.
func (f feed) changes(ctx context.Context, t *worker.Task, mark *bookmark) (map[string]bool, error) {
	seen := map[string]bool{}
	b := batch{first: mark.saved.Cursor == ""}
	for page, err := range since(ctx, t, f.request(mark.saved.Cursor)) {
		if err != nil {
			return nil, err
		}
		b.changes = append(b.changes, page.Changes...)
		if page.More && !f.fills(b.changes) {
			continue
		}
		again, err := f.write(ctx, b)
		if err != nil {
			return nil, err
		}
		if err := mark.note(ctx, b.changes, again, page.Cursor); err != nil {
			return nil, err
		}
		for _, c := range b.changes {
			seen[c.Record.OriginId] = true
		}
		b.changes = nil
	}
	return seen, nil
}

// before writes records from before the bookmark that still have to go to Procore; the ERP
// is read from its start for them.
func (f feed) before(ctx context.Context, t *worker.Task, mark *bookmark, due func(*tiebackv1.Change) bool) error {
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
		again, err := f.write(ctx, b)
		if err != nil {
			return err
		}
		if err := mark.note(ctx, b.changes, again, mark.saved.Cursor); err != nil {
			return err
		}
		b.changes = nil
	}
	return nil
}

// since pages through changes. A cursor that the ERP does not know any more, since its books
// were restored or moved, is started over.
func since(ctx context.Context, t *worker.Task, req *tiebackv1.ListRequest) iter.Seq2[*tiebackv1.ListResponse, error] {
	return func(yield func(*tiebackv1.ListResponse, error) bool) {
		over := false
		for page, err := range t.ERP.Changes(ctx, req) {
			if over = err != nil && fault.Field(err) == "cursor" && req.Cursor != ""; over {
				break
			}
			if !yield(page, err) {
				return
			}
		}
		if !over {
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
