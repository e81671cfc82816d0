// Package imports answers what Procore tells after a user imported or linked records: no
// answer is required, but what it tells is learned, so that later exports and syncs name the
// ERP's records, and what Procore has no import for is synced then: a vendor's insurances,
// a job's cost codes and job costs.
//
// What is learned is kept even where such an optional part fails.
package imports

import (
	"context"
	"errors"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/bulk"
	"github.com/tieback/tieback/services/worker/jobdata"
	"github.com/tieback/tieback/services/worker/payload"
)

// Handlers are the import category's, one for each row of the catalogue.
var Handlers = worker.Handlers{
	"create_vendor_in_procore":     linkVendor,
	"link_all_vendors":             linkAllVendors,
	"link_vendor":                  linkVendor,
	"merge_vendors":                mergeVendors,
	"create_job_in_procore":        createJob,
	"create_sub_job_in_procore":    createSubJob,
	"create_budget_in_procore":     createBudget,
	"create_commitment_in_procore": createCommitment,
}

// link is what a payload's record tells of itself; nothing without an id or an origin id.
func link(itemType string, o payload.Object) []*tiebackv1.Link {
	id, origin := o.ID("id"), o.Text("origin_id")
	if itemType == "" || id == 0 || origin == "" {
		return nil
	}
	return []*tiebackv1.Link{{ItemType: itemType, ItemId: id, OriginId: origin}}
}

func malformed(why string) error {
	return &fault.Error{
		Class: fault.Permanent, Err: errors.New("payload: " + why),
		UserMessage: "Procore's request does not say which record was imported, so Tieback could not take note of it. Sync it to have it tied to your ERP.",
	}
}

func createJob(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	project := t.Payload.Data.Object("project")
	report := &bulk.Report{Links: link("project", project)}
	if report.Links == nil {
		return nil, malformed("project has no id or no origin_id")
	}
	job := jobdata.Job{ProjectID: project.ID("id"), OriginID: project.Text("origin_id"), WithCosts: true}
	if err := report.Optional(jobdata.Sync(ctx, t, job, report)); err != nil {
		return nil, err
	}
	return report.CloseOuts(t), nil
}

func createSubJob(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	subJob := t.Payload.Data.Object("sub_job")
	project := subJob.Object("project")
	report := &bulk.Report{Links: link("sub_job", subJob)}
	if report.Links == nil {
		return nil, malformed("sub_job has no id or no origin_id")
	}
	of := link("project", project)
	if of == nil { // its cost codes can't be written without it
		return report.CloseOuts(t), nil
	}
	report.Links = append(report.Links, of...)
	job := jobdata.Job{
		ProjectID: project.ID("id"), OriginID: project.Text("origin_id"),
		SubJobID: subJob.ID("id"), SubJobOriginID: subJob.Text("origin_id"),
	}
	if err := report.Optional(jobdata.Sync(ctx, t, job, report)); err != nil {
		return nil, err
	}
	return report.CloseOuts(t), nil
}

// createBudget learns the budget, where Procore says what the ERP calls it.
func createBudget(_ context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	report := &bulk.Report{Links: link("budget", t.Payload.Data.Object("budget"))}
	return report.CloseOuts(t), nil
}

// createCommitment learns the commitment and its lines, as far as Procore names them: its
// sample has neither ids nor a type.
func createCommitment(_ context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	commitment := t.Payload.Data.Object("commitment")
	report := &bulk.Report{Links: link(payload.CommitmentType(commitment.Text("type")), commitment)}
	lines := append(t.Payload.Data.Objects("commitment_items"), commitment.Objects("line_items")...)
	for _, line := range lines {
		report.Links = append(report.Links, link("line_item", line)...)
	}
	return report.CloseOuts(t), nil
}
