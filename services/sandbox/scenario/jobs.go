package scenario

import (
	"context"
	"fmt"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/sandbox"
)

// openJobs exports jobs and sub jobs, and takes one of each in from the ERP.
func (d *desk) openJobs(ctx context.Context, n int) error {
	var steps []func(context.Context) error
	for range n {
		steps = append(steps, d.openJob)
	}
	if err := d.all(ctx, steps...); err != nil {
		return err
	}
	if len(d.jobs) == 0 {
		return d.stop("its jobs were not exported")
	}
	// Not while exports are under way: a sync would find jobs that Procore isn't told of yet.
	if err := d.jobFromERP(ctx); err != nil {
		return err
	}
	return d.subJobs(ctx)
}

func (d *desk) openJob(ctx context.Context) error {
	j, err := d.exportJob(ctx, d.name("JOB"))
	if err == nil && j != nil {
		d.mu.Lock()
		d.jobs = append(d.jobs, j)
		d.mu.Unlock()
	}
	return err
}

func (d *desk) jobStep(code string) step {
	return step{
		event:   "create_or_update_job",
		origins: origins{"line_item_type_origin_id": d.category.origin, "standard_cost_code_origin_id": d.standard.origin},
		adjust:  set("request_data.job.name", "Tower "+code, "request_data.job.origin_code", code, "request_data.all_cost_codes[].biller", "Tower "+code),
	}
}

// exportJob answers nil if the export did not succeed.
func (d *desk) exportJob(ctx context.Context, code string) (*job, error) {
	payload, done, err := d.do(ctx, d.jobStep(code))
	if err != nil || !done {
		return nil, err
	}
	j := &job{ref: d.at(payload, "project", "request_data.job.id")}
	j.code = d.second(payload)
	return j, nil
}

// second is the second cost code of an exported job or sub job: the one with the category.
func (d *desk) second(payload map[string]any) ref {
	codes, _ := sandbox.Get(payload, "request_data.all_cost_codes").([]any)
	if len(codes) < 2 {
		return ref{}
	}
	return d.at(map[string]any{"code": codes[1]}, "cost_code", "code.id")
}

func (d *desk) jobFromERP(ctx context.Context) error {
	code := d.name("EJ")
	added, err := d.add(ctx, &tiebackv1.Record{Entity: tiebackv1.Entity_ENTITY_JOB, Code: code, Name: "Bridge " + code})
	if err != nil {
		return err
	}
	if _, done, err := d.do(ctx, step{event: "sync_jobs"}); err != nil || !done {
		return err
	}
	j, imported := d.importing("project", added.GetOriginId())
	if !imported {
		return nil
	}
	if _, _, err := d.do(ctx, step{event: "create_job_in_procore", origins: origins{"a22abb3a-e4ac-4ce7-b6dd-ab5801126eab": j.origin}}); err != nil {
		return err
	}
	_, _, err = d.do(ctx, step{event: "sync_single_job", origins: origins{"project_origin_id": j.origin}})
	return err
}

// subJobs gives each job a sub job, and the first one another from the ERP.
func (d *desk) subJobs(ctx context.Context) error {
	var steps []func(context.Context) error
	for _, j := range d.jobs {
		steps = append(steps, func(ctx context.Context) (err error) {
			j.sub, j.subCode, err = d.exportSubJob(ctx, j)
			return err
		})
	}
	if err := d.all(ctx, steps...); err != nil {
		return err
	}
	return d.subJobFromERP(ctx, d.jobs[0])
}

func (d *desk) exportSubJob(ctx context.Context, j *job) (sub, code ref, err error) {
	name := d.name("SUB")
	payload, done, err := d.do(ctx, step{
		event: "create_sub_job",
		origins: origins{"parent_project_origin_id": j.origin, "line-item-type-origin-id": d.category.origin,
			"standard_cost_code_origin_id": d.standard.origin},
		adjust: set("request_data.sub_job.code", name, "request_data.sub_job.name", "Floor "+name),
	})
	if err != nil || !done {
		return ref{}, ref{}, err
	}
	return d.at(payload, "sub_job", "request_data.sub_job.id"), d.second(payload), nil
}

func (d *desk) subJobFromERP(ctx context.Context, j *job) error {
	code := d.name("ES")
	added, err := d.add(ctx, &tiebackv1.Record{Entity: tiebackv1.Entity_ENTITY_SUB_JOB, Code: code, Name: "Wing " + code, JobOriginId: j.origin})
	if err != nil {
		return err
	}
	if _, done, err := d.do(ctx, step{event: "sync_sub_jobs"}); err != nil || !done {
		return err
	}
	sub, imported := d.importing("sub_job", added.GetOriginId())
	if !imported {
		return nil
	}
	both := origins{"sub_job_origin_id": sub.origin, "sub_jobs_project_origin_id": j.origin}
	for _, event := range []string{"create_sub_job_in_procore", "sync_sub_job"} {
		if _, _, err := d.do(ctx, step{event: event, origins: both}); err != nil {
			return err
		}
	}
	return nil
}

// mishaps are the failures on purpose, and what nobody could work.
func (d *desk) mishaps(ctx context.Context) error {
	taken := d.name("TAKEN")
	if _, err := d.add(ctx, &tiebackv1.Record{Entity: tiebackv1.Entity_ENTITY_JOB, Code: taken, Name: "Here first"}); err != nil {
		return err
	}
	clash := d.jobStep(taken)
	clash.want, clash.says = Fails, "code"
	stranger := d.commitmentStep(d.jobs[0], ref{origin: "V-NOBODY"})
	stranger.want, stranger.says = Fails, "vendor"
	steps := []step{
		clash, stranger,
		{event: "create_spaceship", want: DeadLetter, payload: map[string]any{"request_data": map[string]any{"request_detail_id": 0, "spaceship": map[string]any{"id": 1}}}},
		{event: "create_vendor", want: DeadLetter, payload: map[string]any{"request_data": map[string]any{"request_detail_id": 0, "vendor": fmt.Sprintf("nonsense %d", d.company)}}},
	}
	var all []func(context.Context) error
	for _, s := range steps {
		all = append(all, func(ctx context.Context) error { _, _, err := d.do(ctx, s); return err })
	}
	return d.all(ctx, all...)
}
