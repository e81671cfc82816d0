// Package removal deletes records in Procore one by one, as Procore has no call that deletes several, and saves
// its progress.
//
// An event may list more records than the rate limit allows calls. Without saved progress, each attempt would
// spend the limit on records that are already deleted, and the event would never complete.
package removal

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/payload"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/services/worker"
)

// Deletion deletes the records of one event. It is not safe for concurrent use.
type Deletion struct {
	task    *worker.Task
	deleted []string // in this attempt or an earlier one
	saved   bool     // an earlier attempt saved its progress
}

// Begin loads the progress that an earlier attempt saved. The caller calls End after all records are deleted.
func Begin(ctx context.Context, t *worker.Task) (*Deletion, error) {
	progress, err := t.State.Cursor(ctx, t.Event.CompanyId, key(t))
	if err != nil {
		return nil, err
	}
	return &Deletion{task: t, deleted: strings.Fields(progress), saved: progress != ""}, nil
}

// key is the key of the progress among the cursors.
func key(t *worker.Task) string { return fmt.Sprintf("deleted-%d", t.Event.ErpRequestId) }

// Delete deletes the record of a link. It does nothing if the record is already gone or id is 0. The error is
// permanent if Procore refuses this record. After any other error the progress is saved, and the event must
// be retried.
//
// Procore's delete calls need the company or the project in the query, whatever the header says. Which of the
// two each call needs is not published, so both are sent if the link has a project.
func (r *Deletion) Delete(ctx context.Context, route procore.Route, id int64, link payload.Link) error {
	name := fmt.Sprintf("%s/%d", route.Name, id)
	if id == 0 || slices.Contains(r.deleted, name) {
		return nil
	}
	query := procore.Query("company_id", r.task.Event.CompanyId, "project_id", link.ProjectID, "sub_job_id", link.SubJobID)
	_, err := r.task.Procore.Do(ctx, procore.Call{Route: route, ID: id, Query: query})
	if err == nil || procore.Gone(err) {
		r.deleted = append(r.deleted, name)
		return nil
	}
	if fault.ClassOf(err) == fault.Permanent {
		return err
	}
	return r.save(ctx, err)
}

// save saves the progress and returns cause, which matters more than an error of saving.
func (r *Deletion) save(ctx context.Context, cause error) error {
	if len(r.deleted) > 0 {
		_ = r.task.State.SaveCursor(context.WithoutCancel(ctx), r.task.Event.CompanyId, key(r.task), strings.Join(r.deleted, " "))
	}
	return cause
}

// End removes the saved progress.
func (r *Deletion) End(ctx context.Context) error {
	if !r.saved {
		return nil
	}
	return r.task.State.SaveCursor(ctx, r.task.Event.CompanyId, key(r.task), "")
}
