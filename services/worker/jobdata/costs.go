package jobdata

import (
	"context"

	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/bulk"
)

// assign adds the assignments of the job's cost codes whose cost code and line item type are linked. The next
// sync adds the others once they are linked.
func assign(ctx context.Context, t *worker.Task, j Job, codes map[string]int64, report *bulk.Report) error {
	types, err := t.State.Links(ctx, t.Event.CompanyId, "line_item_type")
	if err != nil {
		return err
	}
	all, err := bulk.List(ctx, t, &tiebackv1.ListRequest{Entity: assignment, JobOriginId: j.OriginID, SubJobOriginId: j.SubJobOriginID})
	for _, r := range all {
		code, lineItemType := codes[r.CostCodeOriginId], types[r.CategoryOriginId]
		if code == 0 || lineItemType == 0 || r.Inactive {
			continue
		}
		report.Assignments = append(report.Assignments, &tiebackv1.Assignment{
			ProjectId: j.ProjectID, SubJobId: j.SubJobID, CostCodeId: code, LineItemTypeId: lineItemType,
		})
	}
	return err
}

// writeCosts writes the job costs of the job's cost codes. Procore's reference documents the envelope of the
// call; the shape of its items is inferred from the line items of staged records.
func writeCosts(ctx context.Context, t *worker.Task, j Job, codes []*bulk.Record, report *bulk.Report) error {
	costs, err := costsOf(ctx, t, j, codes)
	if err != nil {
		return err
	}
	hash, changed, err := Changed(ctx, t, jobCost.String(), j, texts(costs))
	if err != nil || !changed {
		return err
	}
	var items []bulk.Item
	for _, r := range costs {
		items = append(items, bulk.Item{Record: r, Update: bulk.Fields(
			"origin_id", r.OriginId, "origin_data", r.OriginData,
			"cost_code_origin_id", r.CostCodeOriginId, "line_item_type_origin_id", r.CategoryOriginId,
			"budgeted_amount", r.Amount, "actual_amount", r.ActualAmount)})
	}
	answer, err := bulk.Write(ctx, t.Procore, procore.SyncCall{
		Route: procore.SyncJobCosts, Envelope: map[string]any{"company_id": t.Event.CompanyId, "job_origin_id": j.origin()},
	}, items)
	if err != nil {
		return err
	}
	report.Refused = append(report.Refused, answer.Refused...)
	report.Updated += len(items) - len(answer.Refused)
	if len(answer.Refused) > 0 {
		return nil
	}
	return SaveHash(ctx, t, jobCost.String(), j, hash)
}

func costsOf(ctx context.Context, t *worker.Task, j Job, codes []*bulk.Record) ([]*bulk.Record, error) {
	all, err := bulk.List(ctx, t, &tiebackv1.ListRequest{Entity: jobCost, JobOriginId: j.OriginID, SubJobOriginId: j.SubJobOriginID})
	wanted := map[string]bool{}
	for _, r := range codes {
		wanted[r.OriginId] = true
	}
	var own []*bulk.Record
	for _, r := range all {
		if wanted[r.CostCodeOriginId] {
			own = append(own, r)
		}
	}
	return own, err
}
