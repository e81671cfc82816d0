package scenario

import (
	"context"
	"fmt"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/sandbox"
)

// openJobs exports jobs and sub jobs, and imports one of each from the ERP.
func (a *actor) openJobs(ctx context.Context, n int) error {
	var steps []func(context.Context) error
	for range n {
		steps = append(steps, a.openJob)
	}
	if err := runAll(ctx, steps...); err != nil {
		return err
	}
	if len(a.jobs) == 0 {
		return a.stop("its jobs were not exported")
	}
	// Not during exports: the sync would stage jobs that are not marked yet.
	if err := a.jobFromERP(ctx); err != nil {
		return err
	}
	return a.subJobs(ctx)
}

func (a *actor) openJob(ctx context.Context) error {
	j, err := a.exportJob(ctx, a.name("JOB"))
	if err == nil && j != nil {
		a.mu.Lock()
		a.jobs = append(a.jobs, j)
		a.mu.Unlock()
	}
	return err
}

func (a *actor) jobStep(code string) step {
	return step{
		event:   "create_or_update_job",
		origins: origins{"line_item_type_origin_id": a.category.origin, "standard_cost_code_origin_id": a.standard.origin},
		adjust:  set("request_data.job.name", "Tower "+code, "request_data.job.origin_code", code, "request_data.all_cost_codes[].biller", "Tower "+code),
	}
}

// exportJob returns nil if the export failed.
func (a *actor) exportJob(ctx context.Context, code string) (*job, error) {
	payload, done, err := a.run(ctx, a.jobStep(code))
	if err != nil || !done {
		return nil, err
	}
	j := &job{ref: a.record(payload, "project", "request_data.job.id")}
	j.code = a.second(payload)
	return j, nil
}

// second returns the second cost code of an exported job or sub job, to which the category is assigned.
func (a *actor) second(payload map[string]any) ref {
	codes, _ := sandbox.Get(payload, "request_data.all_cost_codes").([]any)
	if len(codes) < 2 {
		return ref{}
	}
	return a.record(map[string]any{"code": codes[1]}, "cost_code", "code.id")
}

func (a *actor) jobFromERP(ctx context.Context) error {
	code := a.name("EJ")
	added, err := a.add(ctx, &tiebackv1.Record{Entity: tiebackv1.Entity_ENTITY_JOB, Code: code, Name: "Bridge " + code})
	if err != nil {
		return err
	}
	if _, done, err := a.run(ctx, step{event: "sync_jobs"}); err != nil || !done {
		return err
	}
	j, imported := a.importRecord("project", added.GetOriginId())
	if !imported {
		return nil
	}
	if _, _, err := a.run(ctx, step{event: "create_job_in_procore", origins: origins{"a22abb3a-e4ac-4ce7-b6dd-ab5801126eab": j.origin}}); err != nil {
		return err
	}
	_, _, err = a.run(ctx, step{event: "sync_single_job", origins: origins{"project_origin_id": j.origin}})
	return err
}

// subJobs exports a sub job of each job and imports one of the first job.
func (a *actor) subJobs(ctx context.Context) error {
	var steps []func(context.Context) error
	for _, j := range a.jobs {
		steps = append(steps, func(ctx context.Context) (err error) {
			j.sub, j.subCode, err = a.exportSubJob(ctx, j)
			return err
		})
	}
	if err := runAll(ctx, steps...); err != nil {
		return err
	}
	return a.subJobFromERP(ctx, a.jobs[0])
}

func (a *actor) exportSubJob(ctx context.Context, j *job) (sub, code ref, err error) {
	name := a.name("SUB")
	payload, done, err := a.run(ctx, step{
		event: "create_sub_job",
		origins: origins{"parent_project_origin_id": j.origin, "line-item-type-origin-id": a.category.origin,
			"standard_cost_code_origin_id": a.standard.origin},
		adjust: set("request_data.sub_job.code", name, "request_data.sub_job.name", "Floor "+name),
	})
	if err != nil || !done {
		return ref{}, ref{}, err
	}
	return a.record(payload, "sub_job", "request_data.sub_job.id"), a.second(payload), nil
}

func (a *actor) subJobFromERP(ctx context.Context, j *job) error {
	code := a.name("ES")
	added, err := a.add(ctx, &tiebackv1.Record{Entity: tiebackv1.Entity_ENTITY_SUB_JOB, Code: code, Name: "Wing " + code, JobOriginId: j.origin})
	if err != nil {
		return err
	}
	if _, done, err := a.run(ctx, step{event: "sync_sub_jobs"}); err != nil || !done {
		return err
	}
	sub, imported := a.importRecord("sub_job", added.GetOriginId())
	if !imported {
		return nil
	}
	both := origins{"sub_job_origin_id": sub.origin, "sub_jobs_project_origin_id": j.origin}
	for _, event := range []string{"create_sub_job_in_procore", "sync_sub_job"} {
		if _, _, err := a.run(ctx, step{event: event, origins: both}); err != nil {
			return err
		}
	}
	return nil
}

// failures presses events that must fail or become dead letters.
func (a *actor) failures(ctx context.Context) error {
	taken := a.name("TAKEN")
	if _, err := a.add(ctx, &tiebackv1.Record{Entity: tiebackv1.Entity_ENTITY_JOB, Code: taken, Name: "Existing"}); err != nil {
		return err
	}
	clash := a.jobStep(taken)
	clash.want, clash.message = Fails, "code"
	unknown := a.commitmentStep(a.jobs[0], ref{origin: "V-UNKNOWN"})
	unknown.want, unknown.message = Fails, "vendor"
	steps := []step{
		clash, unknown,
		{event: "create_spaceship", want: DeadLetter, payload: map[string]any{"request_data": map[string]any{"request_detail_id": 0, "spaceship": map[string]any{"id": 1}}}},
		{event: "create_vendor", want: DeadLetter, payload: map[string]any{"request_data": map[string]any{"request_detail_id": 0, "vendor": fmt.Sprintf("malformed %d", a.company)}}},
	}
	var all []func(context.Context) error
	for _, s := range steps {
		all = append(all, func(ctx context.Context) error { _, _, err := a.run(ctx, s); return err })
	}
	return runAll(ctx, all...)
}
