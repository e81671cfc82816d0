// Package removal deletes records of Procore one by one, which is the only way Procore has,
// and remembers how far it came.
//
// An event may list more records than the rate limit allows calls: without the note, each
// attempt would spend the limit on what is gone already, and never come to the end.
package removal

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/payload"
)

// Deletion is the deleting of one event, for one goroutine.
type Deletion struct {
	task *worker.Task
	gone []string // what was deleted, in this attempt or before
	note bool     // an earlier attempt left a note
}

// Begin reads the note that an earlier attempt left. End the run when all is deleted.
func Begin(ctx context.Context, t *worker.Task) (*Deletion, error) {
	note, err := t.State.Cursor(ctx, t.Event.CompanyId, key(t))
	if err != nil {
		return nil, err
	}
	return &Deletion{task: t, gone: strings.Fields(note), note: note != ""}, nil
}

// key keeps the note among the cursors: up to where this request's deleting has come.
func key(t *worker.Task) string { return fmt.Sprintf("deleted-%d", t.Event.ErpRequestId) }

// Delete deletes a record of a link; one that is gone already is no error, and neither is id 0. An
// error is permanent where Procore refuses this record; after any other, a note is left and
// the event must come again.
//
// Procore's deletes want the company or the project in the query, whatever the header says. Which
// of the two is not published of each: both are sent where the link has a project.
func (r *Deletion) Delete(ctx context.Context, route procore.Route, id int64, link payload.Link) error {
	name := fmt.Sprintf("%s/%d", route.Name, id)
	if id == 0 || slices.Contains(r.gone, name) {
		return nil
	}
	query := procore.Query("company_id", r.task.Event.CompanyId, "project_id", link.ProjectID, "sub_job_id", link.SubJobID)
	_, err := r.task.Procore.Do(ctx, procore.Call{Route: route, ID: id, Query: query})
	if err == nil || procore.Gone(err) {
		r.gone = append(r.gone, name)
		return nil
	}
	if fault.ClassOf(err) == fault.Permanent {
		return err
	}
	return r.leave(ctx, err)
}

// leave writes the note. Should that fail, the cause is still what matters.
func (r *Deletion) leave(ctx context.Context, cause error) error {
	if len(r.gone) > 0 {
		_ = r.task.State.SaveCursor(context.WithoutCancel(ctx), r.task.Event.CompanyId, key(r.task), strings.Join(r.gone, " "))
	}
	return cause
}

// End forgets the note.
func (r *Deletion) End(ctx context.Context) error {
	if !r.note {
		return nil
	}
	return r.task.State.SaveCursor(ctx, r.task.Event.CompanyId, key(r.task), "")
}
