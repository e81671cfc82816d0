package closeout

import "github.com/tieback/tieback/pkg/procore"

// The calls that only the status-reporter may make.
var (
	syncExternalData   = procore.Route{Name: "external_data_sync", Method: "PATCH", Path: "/rest/v1.0/companies/{company_id}/external_data/sync"}
	syncAssignments    = procore.Route{Name: "cost_code_line_item_types_sync", Method: "PATCH", Path: "/rest/v1.0/cost_code_line_item_types/sync"}
	syncTransactions   = procore.Route{Name: "erp_transactions_sync", Method: "PATCH", Path: "/rest/v1.0/erp_transactions/sync"}
	unlinkRecord       = procore.Route{Name: "status_management_unlink", Method: "PATCH", Path: "/rest/v1.0/companies/{company_id}/erp_status_management/unlink"}
	unlinkPayment      = procore.Route{Name: "invoice_payment_unlink", Method: "PATCH", Path: "/rest/v1.0/companies/{company_id}/invoice_payments/{id}/unlink"}
	syncRequestDetails = procore.Route{Name: "erp_request_details_sync", Method: "PATCH", Path: "/rest/v1.0/companies/{company_id}/erp_request_details/sync"}
)
