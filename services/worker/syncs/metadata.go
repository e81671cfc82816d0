package syncs

import (
	"context"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/bulk"
)

// entities is Procore's name for each entity of the ERP metadata; 0: no connector has it.
var entities = map[string]tiebackv1.Entity{
	"standard_cost_codes":          standardCostCode,
	"standard_categories":          standardCategory,
	"vendors":                      vendor,
	"jobs":                         job,
	"sub_jobs":                     subJob,
	"budgets":                      tiebackv1.Entity_ENTITY_BUDGET,
	"job_costs":                    tiebackv1.Entity_ENTITY_JOB_COST,
	"job_cost_transactions":        0,
	"commitments":                  commitment,
	"commitment_change_orders":     changeOrder,
	"company_level_direct_costs":   tiebackv1.Entity_ENTITY_DIRECT_COST,
	"requisitions":                 tiebackv1.Entity_ENTITY_REQUISITION,
	"payment_applications":         tiebackv1.Entity_ENTITY_PAYMENT_APPLICATION,
	"prime_contracts":              primeContract,
	"prime_contract_change_orders": tiebackv1.Entity_ENTITY_PRIME_CONTRACT_CHANGE_ORDER,
}

// syncMetadata tells Procore's ERP tool what the connected ERP can do.
func syncMetadata(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	caps, err := t.ERP.Capabilities(ctx)
	if err != nil {
		return nil, err
	}
	body := map[string]any{"metadata": map[string]any{"settings": map[string]any{"entities": settings(caps)}}}
	if _, err := t.Procore.Do(ctx, procore.Call{Route: procore.UpdateMetadata, Body: body}); err != nil {
		return nil, err
	}
	return (&bulk.Report{}).CloseOuts(t), nil
}

// settings enables of each entity what both sides can do: there is an event for it, and
// the ERP has the call that the event needs.
//
//	export          Put
//	import, staged  List
//	unlink          State
func settings(caps *tiebackv1.CapabilitiesResponse) map[string]any {
	can := map[tiebackv1.Entity]*tiebackv1.EntityCapability{}
	for _, e := range caps.Entities {
		can[e.Entity] = e
	}
	out := map[string]any{}
	for name, entity := range entities {
		c := can[entity]
		out[name] = map[string]any{
			"enabled": c.GetPut() || c.GetList(),
			"configs": map[string]any{
				"export":         enabled(c.GetPut() && has(catalogue.Export, name)),
				"import":         enabled(c.GetList() && has(catalogue.Sync, name)),
				"unlink":         enabled(c.GetState() && has(catalogue.Unlink, name)),
				"staged_records": enabled(c.GetList() && staged(entity)),
			},
		}
	}
	return out
}

func enabled(yes bool) map[string]any { return map[string]any{"enabled": yes} }

func has(c catalogue.Category, entity string) bool {
	for _, row := range catalogue.Of(c) {
		if row.Entity == entity {
			return true
		}
	}
	return false
}

func staged(e tiebackv1.Entity) bool {
	for _, k := range []kind{vendors, jobs, subJobs, commitments, changeOrders, primeContracts} {
		if k.entity == e {
			return true
		}
	}
	return false
}
