// Package jobdata writes the job-sized part of four events to Procore: a job's or a sub
// job's cost codes, which line item types each has, and its job costs.
//
//	sync_single_job, sync_sub_job, create_job_in_procore    all three
//	create_sub_job_in_procore                               cost codes and assignments
//
// The part is read whole each time, and written when it differs from what was last written
// or holds a cost code whose id we do not know: so what was refused, or learned by an
// outcome that got lost, is made good by the next sync, and one without news writes nothing.
// Assignments are not written here; the status-reporter does that, from the close-out.
package jobdata

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/bulk"
)

// Short names of the entities.
const (
	costCode   = tiebackv1.Entity_ENTITY_COST_CODE
	assignment = tiebackv1.Entity_ENTITY_COST_TYPE_ASSIGNMENT
	jobCost    = tiebackv1.Entity_ENTITY_JOB_COST
)

// Job is a job of the ERP that is a project of Procore, or a sub job of one.
type Job struct {
	ProjectID      int64
	SubJobID       int64 // 0: the job itself
	OriginID       string
	SubJobOriginID string // "": the job itself
	WithCosts      bool   // job costs too
}

func (j Job) origin() string {
	if j.SubJobOriginID != "" {
		return j.SubJobOriginID
	}
	return j.OriginID
}

// Sync writes the job's part and adds how it ended to the report. Entities that the ERP
// can't list are passed over: the part is optional.
func Sync(ctx context.Context, t *worker.Task, j Job, report *bulk.Report) error {
	can, err := bulk.Lists(ctx, t)
	if err != nil || !can[costCode] {
		return err
	}
	codes, err := records(ctx, t, j, costCode)
	if err != nil {
		return err
	}
	ids, err := writeCodes(ctx, t, j, codes, report)
	if err != nil {
		return err
	}
	if can[assignment] {
		if err := assign(ctx, t, j, ids, report); err != nil {
			return err
		}
	}
	if can[jobCost] && j.WithCosts {
		return report.Optional(writeCosts(ctx, t, j, codes, report))
	}
	return nil
}

// records lists an entity of the job alone: its sub jobs have their own.
func records(ctx context.Context, t *worker.Task, j Job, e tiebackv1.Entity) ([]*bulk.Record, error) {
	all, err := bulk.List(ctx, t, &tiebackv1.ListRequest{Entity: e, JobOriginId: j.OriginID, SubJobOriginId: j.SubJobOriginID})
	var own []*bulk.Record
	for _, r := range all {
		if r.SubJobOriginId == j.SubJobOriginID {
			own = append(own, r)
		}
	}
	return own, err
}

// Fresh says whether updates differ from what Done last noted for the job, and gives the
// note to hand to Done once Procore has them all.
func Fresh(ctx context.Context, t *worker.Task, what string, j Job, updates any) (note string, fresh bool, err error) {
	raw, err := json.Marshal([]any{j.ProjectID, j.SubJobID, updates})
	if err != nil {
		return "", false, fault.New(fault.Permanent, err)
	}
	note = fmt.Sprintf("sha256:%x", sha256.Sum256(raw))
	old, err := t.State.Cursor(ctx, t.Event.CompanyId, j.key(what))
	return note, old != note, err
}

// Done keeps Fresh's note.
func Done(ctx context.Context, t *worker.Task, what string, j Job, note string) error {
	return t.State.SaveCursor(ctx, t.Event.CompanyId, j.key(what), note)
}

// key is what a job's note is kept under; an ERP's ids may have characters that keys may not.
func (j Job) key(what string) string {
	enc := base64.RawURLEncoding
	key := what + ".job." + enc.EncodeToString([]byte(j.OriginID))
	if j.SubJobOriginID != "" {
		key += "." + enc.EncodeToString([]byte(j.SubJobOriginID))
	}
	return key
}

// codesCall is the only way to write cost codes of an ERP project.
func codesCall(j Job) procore.SyncCall {
	return procore.SyncCall{Route: procore.SyncCostCodes, Query: procore.Query("project_id", j.ProjectID, "sub_job_id", j.SubJobID)}
}
