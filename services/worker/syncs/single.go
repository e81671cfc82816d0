package syncs

import (
	"context"
	"errors"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/bulk"
	"github.com/tieback/tieback/services/worker/jobdata"
)

func syncSingleJob(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	more := t.Payload.Data.Object("additional_job_data")
	return single{
		entity: job, route: procore.UpdateProject, wrapper: "project", fields: activity("active", withOriginCode(syncedJobFields)),
		Job: jobdata.Job{OriginID: t.Payload.Data.Text("id"), ProjectID: more.ID("procore_project_id"), WithCosts: true},
	}.handle(ctx, t)
}

func syncSubJob(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	more := t.Payload.Data.Object("additional_job_data")
	s := single{
		entity: subJob, route: procore.UpdateSubJob, wrapper: "sub_job", fields: subJobFields,
		Job: jobdata.Job{
			OriginID: more.Text("parent_origin_id"), SubJobOriginID: t.Payload.Data.Text("id"),
			ProjectID: more.ID("procore_project_id"), SubJobID: more.ID("procore_sub_job_id"), WithCosts: true,
		},
	}
	if s.SubJobID == 0 || s.SubJobOriginID == "" {
		return nil, malformed("has no sub job")
	}
	return s.handle(ctx, t)
}

func malformed(why string) error {
	return &fault.Error{
		Class: fault.Permanent, Err: errors.New("payload " + why),
		UserMessage: "Procore's request does not say which job to sync. Sync it again. If that fails too, contact the administrator of your ERP integration.",
	}
}

// single is the sync of one job or sub job: the record itself, then its cost codes and job costs.
type single struct {
	jobdata.Job
	entity  tiebackv1.Entity
	route   procore.Route
	wrapper string
	fields  func(*tiebackv1.Record) map[string]any
}

func (s single) handle(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	if s.ProjectID == 0 || s.OriginID == "" {
		return nil, malformed("has no project")
	}
	report := &bulk.Report{Noun: "records of this " + connector.Noun(s.entity)}
	if err := s.updateRecord(ctx, t, report); err != nil {
		return nil, err
	}
	if err := jobdata.Sync(ctx, t, s.Job, report); err != nil {
		return nil, err
	}
	return report.CloseOuts(t), nil
}

// updateRecord updates the project or sub job if it changed since it was last written.
func (s single) updateRecord(ctx context.Context, t *worker.Task, report *bulk.Report) error {
	can, err := bulk.Listable(ctx, t)
	if err != nil || !can[s.entity] {
		return err
	}
	r, err := s.find(ctx, t)
	if err != nil {
		return err
	}
	fields := s.fields(r)
	hash, changed, err := jobdata.Changed(ctx, t, s.entity.String(), s.Job, fields)
	if err != nil || !changed {
		return err
	}
	call := procore.Call{Route: s.route, ID: s.ProjectID, Body: map[string]any{"company_id": t.Event.CompanyId, s.wrapper: fields}}
	if s.SubJobID != 0 {
		call.ID, call.Body = s.SubJobID, map[string]any{"project_id": s.ProjectID, s.wrapper: fields}
	}
	if _, err := t.Procore.Do(ctx, call); err != nil {
		return report.Optional(err)
	}
	report.Updated++
	return jobdata.SaveHash(ctx, t, s.entity.String(), s.Job, hash)
}

// find finds the record in the ERP's list, as connector.Driver has no call that reads one record.
func (s single) find(ctx context.Context, t *worker.Task) (*tiebackv1.Record, error) {
	req := &tiebackv1.ListRequest{Entity: s.entity, Limit: procore.MaxUpdates}
	origin := s.OriginID
	if s.SubJobID != 0 {
		req.JobOriginId, origin = s.OriginID, s.SubJobOriginID
	}
	for page, err := range t.ERP.Changes(ctx, req) {
		if err != nil {
			return nil, err
		}
		for _, c := range page.Changes {
			if c.Record.OriginId == origin && !c.Deleted {
				return c.Record, nil
			}
		}
	}
	return nil, fault.Permanentf("The %s %q is no longer in your ERP system, so it could not be synced.", connector.Noun(s.entity), origin)
}
