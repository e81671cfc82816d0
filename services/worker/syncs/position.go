package syncs

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
)

// maxWaiting is the number of records that can wait, because their list must fit in one message. Beyond it the
// position is no longer saved, and the next sync starts again from the last saved one.
const maxWaiting = 20_000

// savedPosition is the position up to which the changes of an entity are in Procore, except for the records
// that wait because Procore refused them, or because they need another record that is not synced yet. Each sync tries them
// again until Procore accepts them. The state keeps a savedPosition as JSON, as the cursor of the entity.
type savedPosition struct {
	Cursor  string   `json:"cursor"`
	Waiting []string `json:"waiting,omitempty"` // origin ids, sorted
}

// position is the position of a sync that is running.
type position struct {
	task    *worker.Task
	entity  tiebackv1.Entity
	saved   savedPosition
	waiting map[string]bool
	full    bool // too many records wait, so the position is not saved
}

func loadPosition(ctx context.Context, t *worker.Task, e tiebackv1.Entity) (*position, error) {
	b := &position{task: t, entity: e, waiting: map[string]bool{}}
	raw, err := t.State.Cursor(ctx, t.Event.CompanyId, e.String())
	if err != nil || raw == "" {
		return b, err
	}
	if json.Unmarshal([]byte(raw), &b.saved) != nil {
		b.saved = savedPosition{} // unreadable: start over, which is harmless
	}
	for _, origin := range b.saved.Waiting {
		b.waiting[origin] = true
	}
	return b, nil
}

// advance records that a batch was written, except for the records in retry. A changed position is saved
// immediately, so that an interrupted sync resumes from here.
func (b *position) advance(ctx context.Context, batch []*tiebackv1.Change, retry map[string]bool, cursor string) error {
	for _, c := range batch {
		delete(b.waiting, c.Record.OriginId)
	}
	maps.Copy(b.waiting, retry)
	b.full = b.full || len(b.waiting) > maxWaiting
	next := savedPosition{Cursor: cursor, Waiting: slices.Sorted(maps.Keys(b.waiting))}
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

// forget removes waiting records that the ERP no longer has.
func (b *position) forget(ctx context.Context, gone map[string]bool) error {
	for origin := range gone {
		delete(b.waiting, origin)
	}
	return b.advance(ctx, nil, nil, b.saved.Cursor)
}
