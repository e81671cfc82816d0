package sandbox

import "net/http"

// route is a path of the API. Calls are counted by its pattern.
type route struct {
	pattern string
	do      func(*call) answer
}

const v1 = "/rest/v1.0"

// apiRoutes returns the routes of the API. [I] marks a path that is inferred from a similar documented one.
func apiRoutes() []route {
	const co = v1 + "/companies/{company_id}"
	return append(listRoutes(), []route{
		{"GET " + co + "/erp_requests/{id}", showRequest}, // [I]
		{"GET " + co + "/erp_request_details", listDetails},
		{"GET " + co + "/erp_request_details/{id}", showDetail},
		{"PATCH " + co + "/erp_request_details/{id}", updateDetail},
		{"PATCH " + co + "/erp_request_details/sync", syncAction(syncDetails)},

		{"PATCH " + co + "/external_data/sync", syncAction(syncExternalData)},
		{"PATCH " + v1 + "/cost_code_line_item_types/sync", syncAction(syncAssignments)},
		{"PATCH " + v1 + "/erp_transactions/sync", syncAction(syncTransactions)},
		{"PATCH " + co + "/erp_status_management/unlink", unlinkRecord},  // [I]
		{"PATCH " + co + "/staged_records/sync", syncAction(syncStaged)}, // [I]

		{"PATCH " + v1 + "/standard_cost_codes/sync", syncAction(syncStandardCostCodes)},
		{"PATCH " + v1 + "/line_item_types/sync", syncAction(syncOfCompany("line_item_type"))},
		{"PATCH " + v1 + "/vendors/sync", syncAction(syncOfCompany("vendor"))},
		{"PATCH " + v1 + "/projects/sync", syncAction(syncOfCompany("project"))},
		{"PATCH " + v1 + "/sub_jobs/sync", syncAction(syncSubJobs)},
		{"PATCH " + v1 + "/cost_codes/sync", syncAction(syncCostCodes)},
		{"PATCH " + v1 + "/erp_job_costs/sync", syncAction(syncJobCosts)},
		{"PATCH " + v1 + "/insurances/sync", syncAction(syncInsurances)},
		{"PATCH " + co + "/invoice_payments/sync", syncAction(syncInvoicePayments)},
		{"PATCH " + co + "/invoice_payments/{id}/unlink", unlinkPayment}, // [I]

		{"PATCH " + v1 + "/projects/{id}", updateRecord("project")},
		{"PATCH " + v1 + "/sub_jobs/{id}", updateRecord("sub_job")},
		{"DELETE " + v1 + "/cost_codes/{id}", deleteRecord("cost_code")},
		{"DELETE " + v1 + "/erp_job_costs/{id}", deleteRecord(kindJobCost)},
		{"DELETE " + v1 + "/standard_cost_codes/{id}", deleteRecord("standard_cost_code")},
		{"DELETE " + v1 + "/line_item_types/{id}", deleteRecord("line_item_type")},
		{"DELETE " + v1 + "/cost_code_line_item_types/{id}", deleteAssignment},

		{"POST " + co + "/erp_connections", createConnection},
		{"GET " + co + "/erp_connections", listConnections},           // [I]
		{"PATCH " + co + "/erp_connections/metadata", updateMetadata}, // [I]

		{"POST " + v1 + "/webhooks/hooks", createHook},
		{"GET " + v1 + "/webhooks/hooks", listHooks},
		{"PATCH " + v1 + "/webhooks/hooks/{id}", updateHook},
		{"DELETE " + v1 + "/webhooks/hooks/{id}", deleteHook},
		{"POST " + v1 + "/webhooks/hooks/{id}/triggers", createTrigger},
		{"GET " + v1 + "/webhooks/hooks/{id}/triggers", listTriggers},
		{"DELETE " + v1 + "/webhooks/hooks/{id}/triggers/{trigger_id}", deleteTrigger},
		{"GET " + v1 + "/webhooks/hooks/{id}/deliveries", listDeliveries},
	}...)
}

// Unknown is the pattern under which calls to unknown paths are counted.
const Unknown = "unknown path"

const tokenPattern = "POST /oauth/token"

func (sb *Sandbox) routes() http.Handler {
	mux := http.NewServeMux()
	for _, r := range apiRoutes() {
		mux.Handle(r.pattern, sb.endpoint(r.pattern, sb.authorized(r.do)))
	}
	mux.Handle(tokenPattern, sb.endpoint(tokenPattern, issueToken))
	mux.Handle("/", sb.endpoint(Unknown, unknownPath))
	sb.control(mux)
	return mux
}

func unknownPath(c *call) answer {
	return refuse(http.StatusNotFound, "%s %s is not a path of this API: routes.go of the sandbox has all paths", c.r.Method, c.r.URL.Path)
}
