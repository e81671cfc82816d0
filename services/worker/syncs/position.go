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
	p := &position{task: t, entity: e, waiting: map[string]bool{}}
	raw, err := t.State.Cursor(ctx, t.Event.CompanyId, e.String())
	if err != nil || raw == "" {
		return p, err
	}
	if json.Unmarshal([]byte(raw), &p.saved) != nil {
		p.saved = savedPosition{} // unreadable: start over, which is harmless
	}
	for _, origin := range p.saved.Waiting {
		p.waiting[origin] = true
	}
	return p, nil
}

// advance records that changes were written, except for the records in the set retry. A changed position is saved
// immediately, so that an interrupted sync resumes from here.
func (p *position) advance(ctx context.Context, changes []*tiebackv1.Change, retry map[string]bool, cursor string) error {
	for _, c := range changes {
		delete(p.waiting, c.Record.OriginId)
	}
	maps.Copy(p.waiting, retry)
	p.full = p.full || len(p.waiting) > maxWaiting
	next := savedPosition{Cursor: cursor, Waiting: slices.Sorted(maps.Keys(p.waiting))}
	if p.full || next.Cursor == p.saved.Cursor && slices.Equal(next.Waiting, p.saved.Waiting) {
		return nil
	}
	raw, err := json.Marshal(next)
	if err != nil {
		return err
	}
	p.saved = next
	return p.task.State.SaveCursor(ctx, p.task.Event.CompanyId, p.entity.String(), string(raw))
}

// forget removes waiting records that the ERP no longer has.
func (p *position) forget(ctx context.Context, gone map[string]bool) error {
	for origin := range gone {
		delete(p.waiting, origin)
	}
	return p.advance(ctx, nil, nil, p.saved.Cursor)
}
