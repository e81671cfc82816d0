package catalogue

// Table has one row for each event type, grouped by entity as in the dictionary.
var Table = []EventType{
	// standard cost codes
	{
		Name: "create_standard_cost_codes", Category: Export, Entity: "standard_cost_codes", ActionRequired: true,
		DetailAt: []string{"request_data[].request_detail_id"},
		Marks: []Mark{
			{"standard_cost_code", "request_data[].id"},
		},
		Allowed: Allowed{Forget: []string{"standard_cost_code"}},
	},
	{
		Name: "delete_standard_cost_codes", Category: Reset, Entity: "standard_cost_codes", SuperUser: true,
		Allowed: Allowed{Unmark: []string{"standard_cost_code"}, Forget: []string{"standard_cost_code"}},
	},
	{
		Name: "sync_standard_cost_codes", Category: Sync, Entity: "standard_cost_codes", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Writes:   []string{"PATCH /rest/v1.0/standard_cost_codes/sync"},
		Allowed:  Allowed{Link: []string{"standard_cost_code"}},
	},
	{
		Name: "unlink_standard_cost_codes", Category: Unlink, Entity: "standard_cost_codes", SuperUser: true,
		Allowed: Allowed{Forget: []string{"standard_cost_code"}},
	},
	// standard categories
	{
		Name: "delete_standard_categories", Category: Reset, Entity: "standard_categories", SuperUser: true,
		Allowed: Allowed{Unmark: []string{"line_item_type"}, Forget: []string{"line_item_type"}},
	},
	{
		Name: "sync_standard_categories", Category: Sync, Entity: "standard_categories", ActionRequired: true,
		Writes:  []string{"PATCH /rest/v1.0/line_item_types/sync"},
		Allowed: Allowed{Link: []string{"line_item_type"}},
	},
	// vendors
	{
		Name: "create_vendor", Category: Export, Entity: "vendors", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Marks: []Mark{
			{"vendor", "request_data.vendor.id"},
		},
		Allowed: Allowed{Forget: []string{"vendor"}},
	},
	{
		Name: "create_vendor_in_procore", Category: Import, Entity: "vendors",
		Writes:  []string{"optional: PATCH /rest/v1.0/insurances/sync"},
		Allowed: Allowed{Link: []string{"vendor", "insurance"}},
	},
	{
		Name: "link_all_vendors", Category: Import, Entity: "vendors",
		Writes:  []string{"optional: PATCH /rest/v1.0/insurances/sync"},
		Allowed: Allowed{Link: []string{"vendor", "insurance"}},
	},
	{
		Name: "link_vendor", Category: Import, Entity: "vendors",
		Writes:  []string{"optional: PATCH /rest/v1.0/insurances/sync"},
		Allowed: Allowed{Link: []string{"vendor", "insurance"}},
	},
	{
		Name: "merge_vendors", Category: Import, Entity: "vendors",
		Allowed: Allowed{Link: []string{"vendor"}, Forget: []string{"vendor"}},
	},
	{
		Name: "sync_vendors", Category: Sync, Entity: "vendors", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Writes:   []string{"staged_records/sync item_type=vendor for new ones", "PATCH /rest/v1.0/vendors/sync for those already synced"},
	},
	{
		Name: "unlink_vendor", Category: Unlink, Entity: "vendors",
		Allowed: Allowed{Forget: []string{"vendor"}},
	},
	// jobs
	{
		Name: "create_job_in_procore", Category: Import, Entity: "jobs",
		Writes:  []string{"cost_codes/sync, cost_code_line_item_types/sync, erp_job_costs/sync; optionally the project configuration"},
		Allowed: Allowed{Link: []string{"project", "cost_code"}, Assignments: true},
	},
	{
		Name: "create_or_update_job", Category: Export, Entity: "jobs", ActionRequired: true,
		DetailAt: []string{"request_detail_id"},
		Marks: []Mark{
			{"project", "request_data.job.id"},
			{"cost_code", "request_data.all_cost_codes[].id"},
		},
		Writes:  []string{"PATCH /rest/v1.0/cost_code_line_item_types/sync?project_id= to mark assignments synced"},
		Allowed: Allowed{Forget: []string{"project", "cost_code"}, Assignments: true},
	},
	{
		Name: "reset_job", Category: Reset, Entity: "jobs", SuperUser: true,
		Allowed: Allowed{Unmark: []string{"project", "sub_job", "cost_code", "budget"}},
	},
	{
		Name: "sync_jobs", Category: Sync, Entity: "jobs", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Writes:   []string{"staged_records/sync item_type=project for new ones", "PATCH /rest/v1.0/projects/sync for those already synced"},
	},
	{
		Name: "sync_single_job", Category: Sync, Entity: "jobs",
		Writes:  []string{"optional: PATCH /rest/v1.0/projects/{id}, cost_codes/sync, cost_code_line_item_types/sync, erp_job_costs/sync"},
		Allowed: Allowed{Link: []string{"cost_code"}, Assignments: true},
	},
	// sub jobs
	{
		Name: "create_sub_job", Category: Export, Entity: "sub_jobs", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Marks: []Mark{
			{"sub_job", "request_data.sub_job.id"},
			{"cost_code", "request_data.all_cost_codes[].id"},
		},
		Writes:  []string{"PATCH /rest/v1.0/cost_code_line_item_types/sync?project_id=&sub_job_id= to mark assignments synced"},
		Allowed: Allowed{Forget: []string{"sub_job", "cost_code"}, Assignments: true},
	},
	{
		Name: "create_sub_job_in_procore", Category: Import, Entity: "sub_jobs",
		Writes:  []string{"cost_codes/sync, cost_code_line_item_types/sync"},
		Allowed: Allowed{Link: []string{"sub_job", "project", "cost_code"}, Assignments: true},
	},
	{
		Name: "reset_sub_job", Category: Reset, Entity: "sub_jobs", SuperUser: true,
		Allowed: Allowed{Unmark: []string{"sub_job", "cost_code"}},
	},
	{
		Name: "sync_sub_job", Category: Sync, Entity: "sub_jobs",
		Writes:  []string{"optional: PATCH /rest/v1.0/sub_jobs/{id}, cost_codes/sync, cost_code_line_item_types/sync, erp_job_costs/sync"},
		Allowed: Allowed{Link: []string{"cost_code"}, Assignments: true},
	},
	{
		Name: "sync_sub_jobs", Category: Sync, Entity: "sub_jobs", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Writes:   []string{"staged_records/sync item_type=sub_job for new ones", "PATCH /rest/v1.0/sub_jobs/sync for those already synced"},
	},
	// cost codes
	{
		// The names are Procore's: delete_cost_code is a reset, delete_cost_codes an unlink.
		Name: "delete_cost_code", Category: Reset, Entity: "cost_codes", SuperUser: true,
		Allowed: Allowed{Unmark: []string{"cost_code"}, Forget: []string{"cost_code"}},
	},
	{
		Name: "delete_cost_codes", Category: Unlink, Entity: "cost_codes", ActionRequired: true,
		DetailAt: []string{"request_data.cost_codes[].request_detail_id"},
		Writes:   []string{"for each code that is deleted in the ERP: DELETE /rest/v1.0/cost_codes/{id}"},
		Allowed:  Allowed{Forget: []string{"cost_code"}},
	},
	{
		Name: "delete_cost_type_assignments", Category: Unlink, Entity: "cost_codes", ActionRequired: true,
		DetailAt: []string{"request_data.cost_type_assignments[].request_detail_id"},
		Writes:   []string{"for each assignment deleted in the ERP: DELETE the cost code line item type assignment and DELETE /rest/v1.0/erp_job_costs/{job_cost_id}"},
	},
	// budgets
	{
		Name: "create_budget", Category: Export, Entity: "budgets", ActionRequired: true,
		Marks: []Mark{
			{"budget", "request_data.budget.id"},
		},
		Writes:  []string{"PATCH /rest/v1.0/erp_transactions/sync {project_id, updates:[{id, origin_id, synced:true}]}"},
		Allowed: Allowed{Forget: []string{"budget"}, Transactions: true},
	},
	{
		Name: "update_budget", Category: Export, Entity: "budgets", ActionRequired: true,
		Marks: []Mark{
			{"budget", "request_data.budget.id"},
		},
		Writes:  []string{"PATCH /rest/v1.0/erp_transactions/sync {project_id, updates:[{id, origin_id, synced:true}]}"},
		Allowed: Allowed{Forget: []string{"budget"}, Transactions: true},
	},
	{
		Name: "create_budget_in_procore", Category: Import, Entity: "budgets",
		Allowed: Allowed{Link: []string{"budget"}},
	},
	// requisitions
	{
		Name: "create_requisitions", Category: Export, Entity: "requisitions", ActionRequired: true,
		Marks: []Mark{
			{"requisition", "request_data.requisitions[].procore_requisition_id"},
			{"requisition_contract_item | requisition_contract_detail_item | requisition_change_order_item (by requisition_item_type)", "request_data.requisitions[].line_items[].procore_requisition_item_id"},
		},
		Allowed: Allowed{Forget: []string{"requisition"}},
	},
	{
		Name: "reset_requisition", Category: Reset, Entity: "requisitions", SuperUser: true,
		Allowed: Allowed{Unmark: []string{"requisition"}},
	},
	// payments
	{
		Name: "create_payment", Aliases: []string{"create_contract_payment"}, Category: Export, Entity: "payments", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Marks: []Mark{
			{"contract_payment", "request_data.contract_payment.id"},
		},
		Allowed: Allowed{Forget: []string{"contract_payment"}},
	},
	{
		Name: "reset_payment", Category: Reset, Entity: "payments", SuperUser: true, ActionRequired: true,
		Writes:  []string{"if deleted in the ERP: unlink the invoice payment"},
		Allowed: Allowed{Unlink: []string{"contract_payment", "invoice_payment"}},
	},
	{
		Name: "sync_contract_payments", Category: Sync, Entity: "payments", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Writes:   []string{"PATCH /rest/v1.0/companies/{company_id}/invoice_payments/sync (not staged)"},
		Allowed:  Allowed{Link: []string{"invoice_payment"}},
	},
	// commitments
	{
		Name: "create_commitment", Category: Export, Entity: "commitments", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Marks: []Mark{
			{"work_order_contract | purchase_order_contract (by commitment.type)", "request_data.commitment.id"},
			{"line_item", "request_data.commitment_items[].id"},
		},
		Allowed: Allowed{Forget: []string{"work_order_contract", "purchase_order_contract"}},
	},
	{
		Name: "create_commitment_in_procore", Category: Import, Entity: "commitments",
		Allowed: Allowed{Link: []string{"work_order_contract", "purchase_order_contract", "line_item"}},
	},
	{
		Name: "sync_commitments", Category: Sync, Entity: "commitments", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Writes:   []string{"staged_records/sync item_type=work_order_contract / purchase_order_contract with line_item children"},
	},
	{
		Name: "unlink_commitment", Category: Unlink, Entity: "commitments", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Allowed:  Allowed{Unlink: []string{"work_order_contract", "purchase_order_contract"}},
	},
	// commitment change orders
	{
		Name: "create_commitment_change_order", Category: Export, Entity: "commitment_change_orders", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Marks: []Mark{
			{"change_order", "request_data.change_order.id"},
			{"line_item", "request_data.change_order_items[].id"},
		},
		Allowed: Allowed{Forget: []string{"change_order"}},
	},
	{
		Name: "sync_commitment_change_orders", Category: Sync, Entity: "commitment_change_orders", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Writes:   []string{"staged_records/sync item_type=commitment_change_order with line_item children"},
	},
	{
		Name: "unlink_commitment_change_order", Category: Unlink, Entity: "commitment_change_orders", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Allowed:  Allowed{Unlink: []string{"change_order"}},
	},
	// payment applications
	{
		Name: "create_payment_application", Category: Export, Entity: "payment_applications", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Marks: []Mark{
			{"payment_application", "request_data.payment_application.id"},
			{"payment_application_line_item", "request_data.payment_application.items[].id"},
		},
		Allowed: Allowed{Forget: []string{"payment_application"}},
	},
	{
		Name: "unlink_payment_application", Category: Unlink, Entity: "payment_applications", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Allowed:  Allowed{Unmark: []string{"payment_application_line_item"}, Unlink: []string{"payment_application"}},
	},
	// prime contracts
	{
		Name: "sync_prime_contracts", Category: Sync, Entity: "prime_contracts", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Writes:   []string{"staged_records/sync item_type=prime_contract with line_item children; only for synced projects, cost codes and cost types; may be re-imported"},
	},
	// prime contract change orders
	{
		Name: "create_prime_contract_change_order", Category: Export, Entity: "prime_contract_change_orders", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Marks: []Mark{
			{"change_order", "request_data.prime_contract_change_order.id"},
			{"line_item", "request_data.prime_contract_change_order_items[].id"},
			{"markup", "request_data.prime_contract_change_order_items[].markup_line_items[].id"},
		},
		Allowed: Allowed{Forget: []string{"change_order"}},
	},
	{
		Name: "reset_prime_contract_change_order", Category: Reset, Entity: "prime_contract_change_orders", SuperUser: true, ActionRequired: true,
		Writes:  []string{"if deleted in the ERP: external data marked unsynced"},
		Allowed: Allowed{Unmark: []string{"change_order", "line_item", "markup"}},
	},
	{
		Name: "unlink_prime_contract_change_order", Category: Unlink, Entity: "prime_contract_change_orders", ActionRequired: true,
		DetailAt: []string{"request_detail_id"},
		Allowed:  Allowed{Unmark: []string{"line_item", "markup"}, Unlink: []string{"change_order"}},
	},
	// company level direct costs
	{
		Name: "create_company_level_direct_cost", Category: Export, Entity: "company_level_direct_costs", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Marks: []Mark{
			{"company_level_direct_cost", "request_data.direct_cost.id"},
		},
		Allowed: Allowed{Forget: []string{"company_level_direct_cost"}},
	},
	{
		Name: "reset_company_level_direct_cost", Category: Reset, Entity: "company_level_direct_costs", SuperUser: true,
		Allowed: Allowed{Unmark: []string{"company_level_direct_cost"}},
	},
	{
		Name: "unlink_company_level_direct_cost", Category: Unlink, Entity: "company_level_direct_costs", ActionRequired: true,
		DetailAt: []string{"request_data.request_detail_id"},
		Allowed:  Allowed{Unlink: []string{"company_level_direct_cost"}},
	},
	// metadata
	{
		Name: "sync_metadata", Category: Sync, Entity: "metadata", ActionRequired: true,
		Writes: []string{"update of the ERP metadata configuration"},
	},
}
