package syncs

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
)

// maxWaiting is how many records can wait: the note of them must fit in one message.
// Beyond it the cursor stands still instead, and the next sync writes from there again.
const maxWaiting = 20_000

// place is up to where an entity's changes are in Procore, but for those that wait:
// refused by Procore or not synced yet for want of another record. They are tried again by
// each sync until Procore has them. The state keeps it as JSON, as the entity's cursor.
type place struct {
	Cursor  string   `json:"cursor"`
	Waiting []string `json:"waiting,omitempty"` // origin ids, sorted
}

// bookmark is a place at work.
type bookmark struct {
	task    *worker.Task
	entity  tiebackv1.Entity
	saved   place
	waiting map[string]bool
	full    bool // too many wait: the cursor stands still
}

func openBookmark(ctx context.Context, t *worker.Task, e tiebackv1.Entity) (*bookmark, error) {
	b := &bookmark{task: t, entity: e, waiting: map[string]bool{}}
	raw, err := t.State.Cursor(ctx, t.Event.CompanyId, e.String())
	if err != nil || raw == "" {
		return b, err
	}
	if json.Unmarshal([]byte(raw), &b.saved) != nil {
		b.saved = place{} // a note of something else: from the start again, which is harmless
	}
	for _, origin := range b.saved.Waiting {
		b.waiting[origin] = true
	}
	return b, nil
}

// note takes down that a batch has been written, all but the records that wait; moved
// bookmarks are saved at once, so that a sync that has to stop goes on from here.
func (b *bookmark) note(ctx context.Context, batch []*tiebackv1.Change, again map[string]bool, cursor string) error {
	for _, c := range batch {
		delete(b.waiting, c.Record.OriginId)
	}
	maps.Copy(b.waiting, again)
	b.full = b.full || len(b.waiting) > maxWaiting
	next := place{Cursor: cursor, Waiting: slices.Sorted(maps.Keys(b.waiting))}
	if b.full || next.Cursor == b.saved.Cursor && slices.Equal(next.Waiting, b.saved.Waiting) {
		return nil
	}
	raw, err := json.Marshal(next)
	if err != nil {
		return err
	}
	b.saved = next
	return b.task.State.SaveCursor(ctx, b.task.Event.CompanyId, b.entity.String(), string(raw))
}

// forget ends the waiting of records that the ERP does not know any more.
func (b *bookmark) forget(ctx context.Context, gone map[string]bool) error {
	for origin := range gone {
		delete(b.waiting, origin)
	}
	return b.note(ctx, nil, nil, b.saved.Cursor)
}
