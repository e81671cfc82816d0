// Package imports handles the events that Procore sends after a user imported or linked records. No response
// is required, but the links are kept, so that later exports and syncs name the ERP's records. The handlers
// also sync the data that Procore has no import for: the insurances of a vendor, the cost codes and job costs
// of a job.
//
// The links are kept even if such an optional part fails.
package imports

import (
	"context"
	"errors"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/payload"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/bulk"
	"github.com/tieback/tieback/services/worker/jobdata"
)

// Handlers are the handlers of the import category, one for each of its event types.
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

// Run runs the import service.
func Run(ctx context.Context, a *tenant.App) error {
	return worker.Run(ctx, a, catalogue.Import, Handlers)
}

// link returns the link of a record in a payload, or nothing if the record lacks its id or origin id.
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
		UserMessage: "Procore's request does not say which record was imported, so Tieback could not link it. Sync the record to link it to your ERP system.",
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
	if of == nil { // without it the cost codes can't be written
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

// createBudget links the budget if the payload has its origin id.
func createBudget(_ context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	report := &bulk.Report{Links: link("budget", t.Payload.Data.Object("budget"))}
	return report.CloseOuts(t), nil
}

// createCommitment links the commitment and its lines, as far as the payload names them: Procore's sample has
// neither ids nor a type.
func createCommitment(_ context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	commitment := t.Payload.Data.Object("commitment")
	report := &bulk.Report{Links: link(payload.CommitmentType(commitment.Text("type")), commitment)}
	lines := append(t.Payload.Data.Objects("commitment_items"), commitment.Objects("line_items")...)
	for _, line := range lines {
		report.Links = append(report.Links, link("line_item", line)...)
	}
	return report.CloseOuts(t), nil
}
