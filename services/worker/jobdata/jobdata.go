// Package jobdata writes the data of one job to Procore: the cost codes of a job or sub job, the line item types
// of each, and the job costs. Four events use it:
//
//	sync_single_job, sync_sub_job, create_job_in_procore    all three
//	create_sub_job_in_procore                               cost codes and assignments
//
// The data is read completely each time. It is written if it differs from what was last written, or if the id of
// a cost code is not known. So the next sync repeats what was refused or lost, and a sync without changes writes
// nothing. Assignments are not written here, because the status-reporter writes them from the close-out.
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

// Job is a job of the ERP that is linked to a project in Procore, or a sub job of one.
type Job struct {
	ProjectID      int64
	SubJobID       int64 // 0: the job itself
	OriginID       string
	SubJobOriginID string // "": the job itself
	WithCosts      bool   // also write job costs
}

func (j Job) origin() string {
	if j.SubJobOriginID != "" {
		return j.SubJobOriginID
	}
	return j.OriginID
}

// Sync writes the data of the job and adds the result to the report. It skips entities that the ERP can't
// list, as this part of an event is optional.
func Sync(ctx context.Context, t *worker.Task, j Job, report *bulk.Report) error {
	can, err := bulk.Listable(ctx, t)
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

// records lists the records of an entity that belong to the job itself, without those of its sub jobs; for a sub job, the
// records of the sub job.
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

// Changed reports whether the hash of updates differs from the hash that SaveHash last recorded for the job. It returns the
// hash to pass to SaveHash once Procore has accepted all of them.
func Changed(ctx context.Context, t *worker.Task, what string, j Job, updates any) (hash string, changed bool, err error) {
	raw, err := json.Marshal([]any{j.ProjectID, j.SubJobID, updates})
	if err != nil {
		return "", false, fault.New(fault.Permanent, err)
	}
	hash = fmt.Sprintf("sha256:%x", sha256.Sum256(raw))
	old, err := t.State.Cursor(ctx, t.Event.CompanyId, j.key(what))
	return hash, old != hash, err
}

// SaveHash records the hash that Changed returned.
func SaveHash(ctx context.Context, t *worker.Task, what string, j Job, hash string) error {
	return t.State.SaveCursor(ctx, t.Event.CompanyId, j.key(what), hash)
}

// key returns the cursor key of a job's hash. It encodes the ERP's ids, which may have characters that keys
// may not have.
func (j Job) key(what string) string {
	enc := base64.RawURLEncoding
	key := what + ".job." + enc.EncodeToString([]byte(j.OriginID))
	if j.SubJobOriginID != "" {
		key += "." + enc.EncodeToString([]byte(j.SubJobOriginID))
	}
	return key
}

// codesCall is the only sync action that writes cost codes of an ERP project.
func codesCall(j Job) procore.SyncCall {
	return procore.SyncCall{Route: procore.SyncCostCodes, Query: procore.Query("project_id", j.ProjectID, "sub_job_id", j.SubJobID)}
}
