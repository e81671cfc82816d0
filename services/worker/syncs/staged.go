package syncs

import (
	"context"
	"fmt"

	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker/bulk"
)

// The six kinds of staged records.
var (
	vendors = kind{
		entity: vendor, itemTypes: []string{"vendor"}, linked: []string{"vendor"},
		data: vendorFields, update: activity("is_active", withOriginCode(update(vendorFields))), retire: map[string]any{"is_active": false},
		write: ofCompany(procore.SyncVendors),
	}
	jobs = kind{
		entity: job, itemTypes: []string{"project"}, linked: []string{"project"},
		data: stagedJobFields, update: activity("active", update(syncedJobFields)), retire: map[string]any{"active": false},
		write: ofCompany(procore.SyncProjects),
	}
	subJobs = kind{
		entity: subJob, itemTypes: []string{"sub_job"}, linked: []string{"sub_job"}, needs: []string{"project"},
		data: ofProject(subJobFields), update: update(subJobFields),
		write: byProject, calls: projects, limit: maxCalls,
	}
	// Procore has no call that updates a commitment or its change orders.
	commitments = kind{
		entity: commitment, itemTypes: []string{"purchase_order_contract", "work_order_contract"},
		linked: []string{"purchase_order_contract", "work_order_contract"},
		data:   ofProject(commitmentFields), lines: contractLines,
	}
	changeOrders = kind{
		entity: changeOrder, itemTypes: []string{"commitment_change_order"}, linked: []string{"change_order"},
		data: ofProject(changeOrderFields), lines: changeLines,
	}
	// A prime contract may be imported again even if it is linked. It is staged only after everything that it refers
	// to is synced.
	primeContracts = kind{
		entity: primeContract, itemTypes: []string{"prime_contract"}, linked: []string{"prime_contract"},
		needs: []string{"project", "cost_code", "line_item_type"},
		data:  ofProject(primeContractFields), lines: contractLines, restage: true, blocked: unsynced,
	}
)

// ofCompany returns a function that writes updates with a sync action of the company.
func ofCompany(route procore.Route) func(context.Context, *staging, []bulk.Item) error {
	return func(ctx context.Context, s *staging, items []bulk.Item) error {
		return s.writeUpdates(ctx, procore.SyncCall{Route: route, Envelope: map[string]any{"company_id": s.task.Event.CompanyId}}, items)
	}
}

// byProject writes sub jobs, with one call for each project.
func byProject(ctx context.Context, s *staging, items []bulk.Item) error {
	var order []int64
	of := map[int64][]bulk.Item{}
	for _, i := range items {
		id := s.links["project"][i.Record.JobOriginId]
		if id == 0 {
			s.leaveOut(i.Record, "its job is not synced")
			continue
		}
		if of[id] == nil {
			order = append(order, id)
		}
		of[id] = append(of[id], i)
	}
	for _, id := range order {
		call := procore.SyncCall{Route: procore.SyncSubJobs, Query: procore.Query("project_id", id), Envelope: map[string]any{"project_id": id}}
		if err := s.writeUpdates(ctx, call, of[id]); err != nil {
			return err
		}
	}
	return nil
}

// projects returns a function that counts the projects of the synced sub jobs in changes.
func projects(s *staging) func([]*tiebackv1.Change) int {
	return func(changes []*tiebackv1.Change) int {
		of := map[string]bool{}
		for _, c := range changes {
			if s.id(c.Record) != 0 {
				of[c.Record.JobOriginId] = true
			}
		}
		return len(of)
	}
}

// unsynced returns which reference of a prime contract is not synced: its project, or the cost code or cost
// type of a line. It returns "" if all are synced.
func unsynced(s *staging, r *tiebackv1.Record) string {
	if s.links["project"][r.JobOriginId] == 0 {
		return "its job is not synced"
	}
	for i, l := range r.Lines {
		for _, ref := range []struct{ itemType, what, origin string }{
			{"cost_code", "cost code", l.CostCodeOriginId}, {"line_item_type", "cost type", l.CategoryOriginId},
		} {
			if ref.origin != "" && s.links[ref.itemType][ref.origin] == 0 {
				return fmt.Sprintf("the %s %q of line %d is not synced", ref.what, ref.origin, i+1)
			}
		}
	}
	return ""
}
