// Package syncs handles the sync events: it reads what changed in the ERP and writes it to Procore in bulk.
//
//	staged.go     new records wait in "Ready to import", linked records are updated
//	standards.go  standard cost codes and categories, written directly
//	payments.go   payments of synced invoices, written directly
//	single.go     one job or sub job, as requested; see package jobdata
//	metadata.go   the ERP's capabilities, for Procore's ERP tool
//
// The position up to which the ERP's changes are in Procore is saved (position.go) only after Procore has them.
// All handlers may run again after a crash at any point, because sync actions find records by origin id.
// Procore's ids travel in outcomes; if an outcome was lost, the records are written again to get their ids.
package syncs

import (
	"context"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/catalogue"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
)

// Handlers are the handlers of the sync category, one for each of its event types.
var Handlers = worker.Handlers{
	"sync_standard_cost_codes":      syncStandardCostCodes,
	"sync_standard_categories":      syncStandardCategories,
	"sync_vendors":                  vendors.handle,
	"sync_jobs":                     jobs.handle,
	"sync_single_job":               syncSingleJob,
	"sync_sub_job":                  syncSubJob,
	"sync_sub_jobs":                 subJobs.handle,
	"sync_contract_payments":        syncContractPayments,
	"sync_commitments":              commitments.handle,
	"sync_commitment_change_orders": changeOrders.handle,
	"sync_prime_contracts":          primeContracts.handle,
	"sync_metadata":                 syncMetadata,
}

// Run runs the sync service.
func Run(ctx context.Context, a *tenant.App) error {
	return worker.Run(ctx, a, catalogue.Sync, Handlers)
}

// Short names of the entities.
const (
	standardCostCode = tiebackv1.Entity_ENTITY_STANDARD_COST_CODE
	standardCategory = tiebackv1.Entity_ENTITY_STANDARD_CATEGORY
	vendor           = tiebackv1.Entity_ENTITY_VENDOR
	job              = tiebackv1.Entity_ENTITY_JOB
	subJob           = tiebackv1.Entity_ENTITY_SUB_JOB
	payment          = tiebackv1.Entity_ENTITY_PAYMENT
	commitment       = tiebackv1.Entity_ENTITY_COMMITMENT
	changeOrder      = tiebackv1.Entity_ENTITY_COMMITMENT_CHANGE_ORDER
	primeContract    = tiebackv1.Entity_ENTITY_PRIME_CONTRACT
)
