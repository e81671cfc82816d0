package scenario

import (
	"context"
	"encoding/json"
	"slices"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// work is a job's life, all jobs at once.
func (a *actor) contracts(ctx context.Context) error {
	if err := a.primes(ctx); err != nil {
		return err
	}
	var steps []func(context.Context) error
	for _, j := range a.jobs {
		steps = append(steps, func(ctx context.Context) error {
			return runAll(ctx,
				func(ctx context.Context) error { return a.budget(ctx, j) },
				func(ctx context.Context) error { return a.buying(ctx, j) },
				func(ctx context.Context) error { return a.selling(ctx, j) },
				func(ctx context.Context) error { _, err := a.directCost(ctx, j); return err },
			)
		})
	}
	if err := runAll(ctx, steps...); err != nil {
		return err
	}
	if err := a.amounts(ctx, a.jobs[0]); err != nil {
		return err
	}
	return a.fromERP(ctx, a.jobs[0])
}

func (a *actor) budget(ctx context.Context, j *job) error {
	known := origins{"project_origin_id": j.origin, "cc_origin_id": j.code.origin, "cost_type_origin_id": a.category.origin}
	want, message := Succeeds, ""
	if slices.Contains(a.s.cfg.Cannot, tiebackv1.Entity_ENTITY_BUDGET) {
		want, message = Fails, "takes no budgets"
	}
	payload, done, err := a.run(ctx, step{event: "create_budget", origins: known, want: want, message: message})
	if err != nil || !done && want == Succeeds {
		return err
	}
	known["budget_origin_id"] = a.record(payload, "budget", "request_data.budget.id").origin
	if _, _, err := a.run(ctx, step{event: "update_budget", origins: known, want: want, message: message}); err != nil {
		return err
	}
	_, _, err = a.run(ctx, step{event: "create_budget_in_procore", origins: known})
	return err
}

func (a *actor) commitmentOrigins(j *job, vendor ref) origins {
	return origins{
		"800003DD-1600977189": j.origin, "800000CD-1389650341": vendor.origin,
		"800003DD-1600977189|800005FA-1477351439": j.code.origin, "std_cat_9_origin_id": a.category.origin,
		"project_origin_id": j.origin,
	}
}

func (a *actor) commitmentStep(j *job, vendor ref) step {
	number, amount := a.name("SC"), a.amount()
	return step{event: "create_commitment", origins: a.commitmentOrigins(j, vendor), adjust: set(
		"request_data.commitment.number", number, "request_data.commitment.title", "Contract "+number, "request_data.commitment.code", number,
		"request_data.commitment.grand_total", amount, "request_data.commitment_items[].amount", amount,
		"request_data.commitment_items[].total_amount", amount, "request_data.commitment_items[].extended_amount", amount)}
}

// exportCommitment returns a zero contract if the export failed.
func (a *actor) exportCommitment(ctx context.Context, j *job) (contract, error) {
	payload, done, err := a.run(ctx, a.commitmentStep(j, a.vendors[0]))
	if err != nil || !done {
		return contract{}, err
	}
	return contract{
		ref:  a.record(payload, "work_order_contract", "request_data.commitment.id"),
		line: a.record(payload, "line_item", "request_data.commitment_items[].id"),
	}, nil
}

// purchase exports a purchase order contract.
func (a *actor) purchase(ctx context.Context, j *job) error {
	s := a.commitmentStep(j, a.vendors[1])
	id, err := a.s.sb.CreateRecord(a.company, "purchase_order_contract")
	if err != nil {
		return err
	}
	rest := s.adjust
	s.adjust = func(payload map[string]any) {
		rest(payload)
		set("request_data.commitment.id", id, "request_data.commitment.type", "PurchaseOrderContract",
			"request_data.commitment_items[].holder.id", id, "request_data.commitment_items[].holder.holder_type", "PurchaseOrderContract",
			"request_data.commitment.retainage_percent", "10.0", "request_data.commitment_items[].tax_amount", "12.50",
			"request_data.commitment_items[].tax_code", map[string]any{"origin_id": "GST"})(payload)
	}
	_, _, err = a.run(ctx, s)
	return err
}

// buying exports commitments, a change order, an invoice and its payment.
func (a *actor) buying(ctx context.Context, j *job) error {
	if err := a.purchase(ctx, j); err != nil {
		return err
	}
	c, err := a.exportCommitment(ctx, j)
	if err != nil || c.origin == "" {
		return err
	}
	j.commitment = c
	if _, err := a.changeOrder(ctx, j, c); err != nil {
		return err
	}
	invoice, err := a.invoice(ctx, j, c)
	if err != nil || invoice.origin == "" {
		return err
	}
	_, _, err = a.run(ctx, step{event: "create_payment", adjust: set(
		"request_data.contract_payment.project_id", j.id, "request_data.contract_payment.contract_id", c.id,
		"request_data.contract_payment.requisition_id", invoice.id, "request_data.contract_payment.vendor_id", a.vendors[0].id,
		"request_data.contract_payment.amount", "100.00", "request_data.contract_payment.check_number", a.name("CHK"),
		"request_data.contract_payment.external_payment_id", a.name("XP"))})
	return err
}

func (a *actor) changeOrder(ctx context.Context, j *job, c contract) (ref, error) {
	payload, done, err := a.run(ctx, step{
		event: "create_commitment_change_order", origins: a.commitmentOrigins(j, a.vendors[0]),
		adjust: set("request_data.commitment.id", c.id, "request_data.commitment.origin_id", c.origin,
			"request_data.commitment_items[].id", c.line.id, "request_data.commitment_items[].origin_id", c.line.origin,
			"request_data.change_order_items[].commitment_line_item_id", c.line.id, "request_data.change_order.contract_id", c.id,
			"request_data.change_order.origin_code", a.name("CCO"), "request_data.change_order_items[].holder.id", c.id),
	})
	if err != nil || !done {
		return ref{}, err
	}
	return a.record(payload, "change_order", "request_data.change_order.id"), nil
}

func (a *actor) invoice(ctx context.Context, j *job, c contract) (ref, error) {
	payload, done, err := a.run(ctx, a.invoiceStep(j, c))
	if err != nil || !done {
		return ref{}, err
	}
	return a.record(payload, "requisition", "request_data.requisitions[].procore_requisition_id"), nil
}

// invoiceStep exports an invoice of a contract: 1,000.00 in two lines, with tax and retainage.
func (a *actor) invoiceStep(j *job, c contract) step {
	number := a.name("INV")
	return step{
		event: "create_requisitions",
		origins: origins{"contract_origin_id": c.origin, "job_origin_id": j.origin, "commitment_item_origin_id": c.line.origin,
			"cost_code_origin_id": j.code.origin, "line_item_type_origin_id": a.category.origin},
		adjust: set("request_data.requisitions[].code", number, "request_data.requisitions[].invoice_number", number,
			"request_data.requisitions[].contract_id", c.id, "request_data.requisitions[].line_items[].cost_code_id", j.code.id,
			"request_data.requisitions[].line_items[].tax_code_origin_id", "GST", "request_data.requisitions[].line_items[].tax_amount", "25.00",
			"request_data.requisitions[].formatted_payment_due", "$1,030.00"),
	}
}

// primes imports a prime contract of each job from the ERP. There is one sync for all: its button is busy until the sync
// is closed out.
func (a *actor) primes(ctx context.Context) error {
	added := make([]*tiebackv1.Record, len(a.jobs))
	for i, j := range a.jobs {
		var err error
		if added[i], err = a.add(ctx, &tiebackv1.Record{
			Entity: tiebackv1.Entity_ENTITY_PRIME_CONTRACT, Code: a.name("PC"), Number: a.name("PCN"), Name: "Main contract", JobOriginId: j.origin,
			Amount: "100000.00", Lines: []*tiebackv1.Line{{Description: "All", Amount: "100000.00", CostCodeOriginId: j.code.origin, CategoryOriginId: a.category.origin, Position: 1}},
		}); err != nil {
			return err
		}
	}
	if _, done, err := a.run(ctx, step{event: "sync_prime_contracts"}); err != nil || !done {
		return err
	}
	for i, j := range a.jobs {
		prime, imported := a.importRecord("prime_contract", added[i].GetOriginId())
		if imported {
			j.prime, j.primeLine = prime, a.synced("line_item", added[i].GetLines()[0].GetOriginId())
		}
	}
	return nil
}

// selling exports a change order of the prime contract and a payment application.
func (a *actor) selling(ctx context.Context, j *job) error {
	if j.prime.origin == "" {
		return nil // primes reported it
	}
	if _, err := a.primeChange(ctx, j); err != nil {
		return err
	}
	_, err := a.bill(ctx, j)
	return err
}

// exported is a document with its first line.
type exported struct{ doc, line ref }

func (a *actor) primeChange(ctx context.Context, j *job) (exported, error) {
	payload, done, err := a.run(ctx, step{
		event: "create_prime_contract_change_order",
		origins: origins{
			"0cccd6e7-2bd9-43c3-9f9d-aab800bce42c": j.origin, "1e32af04-b238-458f-8e35-aab800bcd886": j.prime.origin,
			"361360e0-4c90-4798-81c3-aab800c2a668": j.code.origin, "1d2de64e-9cec-4ca7-be7a-aa6200965087": a.category.origin,
			"c0daefcf-5b29-42bf-b5b1-aa62009650ce": a.category.origin, "3e572c2e-e33e-4652-9618-aa6200965095": a.category.origin,
		},
		adjust: set("request_data.prime_contract_change_order.number", a.name("PCO"),
			"request_data.prime_contract_items[].id", j.primeLine.id, "request_data.prime_contract_items[].origin_id", j.primeLine.origin,
			"request_data.prime_contract_change_order_items[].prime_line_item_id", j.primeLine.id,
			"request_data.prime_contract_change_order_items[].prime_line_item_origin_id", j.primeLine.origin,
			"request_data.prime_contract_change_order_items[].markup_line_items[].markup.prime_line_item.id", j.primeLine.id,
			"request_data.prime_contract_change_order_items[].markup_line_items[].markup.prime_line_item.origin_id", j.primeLine.origin),
	})
	if err != nil || !done {
		return exported{}, err
	}
	return exported{
		a.record(payload, "change_order", "request_data.prime_contract_change_order.id"),
		a.record(payload, "line_item", "request_data.prime_contract_change_order_items[].id"),
	}, nil
}

func (a *actor) bill(ctx context.Context, j *job) (exported, error) {
	number := a.name("APP")
	payload, done, err := a.run(ctx, step{
		event: "create_payment_application", origins: origins{"origin_id": j.primeLine.origin},
		adjust: set("request_data.payment_application.invoice_number", number, "request_data.payment_application.items[].holder_id", j.prime.id,
			"request_data.payment_application.summary.application_number", number,
			"request_data.payment_application.items[].work_completed_this_period", json.Number("100.10"),
			"request_data.payment_application.items[].work_completed_retainage_percent_this_period", json.Number("10"),
			"request_data.payment_application.items[].work_completed_retainage_retained_this_period", json.Number("10.01"),
			"request_data.payment_application.summary.tax_applicable_to_this_payment", json.Number("8.01"),
			"request_data.payment_application.summary.current_payment_due", json.Number("98.10")),
	})
	if err != nil || !done {
		return exported{}, err
	}
	return exported{
		a.record(payload, "payment_application", "request_data.payment_application.id"),
		a.record(payload, "payment_application_line_item", "request_data.payment_application.items[].id"),
	}, nil
}

func (a *actor) directCost(ctx context.Context, j *job) (ref, error) {
	number := a.name("DC")
	payload, done, err := a.run(ctx, step{
		event: "create_company_level_direct_cost",
		origins: origins{"vendor_origin_id": a.vendors[2].origin, "project_origin_id": j.origin,
			"cost_code_origin_id": j.code.origin, "line_item_type_origin_id": a.category.origin},
		adjust: set("request_data.direct_cost.invoice_number", number, "request_data.direct_cost.origin_code", number),
	})
	if err != nil || !done {
		return ref{}, err
	}
	return a.record(payload, "company_level_direct_cost", "request_data.direct_cost.id"), nil
}

// fromERP syncs a commitment, its change order and a payment that the ERP has.
func (a *actor) fromERP(ctx context.Context, j *job) error {
	line := &tiebackv1.Line{Description: "Steel", Amount: "750.00", CostCodeOriginId: j.code.origin, CategoryOriginId: a.category.origin, JobOriginId: j.origin, Position: 1}
	added, err := a.add(ctx, &tiebackv1.Record{
		Entity: tiebackv1.Entity_ENTITY_COMMITMENT, Kind: "work_order_contract", Code: a.name("EC"), Number: a.name("ECN"), Name: "From the ERP",
		JobOriginId: j.origin, VendorOriginId: a.vendors[0].origin, Amount: "750.00", Lines: []*tiebackv1.Line{line},
	})
	if err != nil {
		return err
	}
	if _, done, err := a.run(ctx, step{event: "sync_commitments"}); err != nil || !done {
		return err
	}
	if c, imported := a.importRecord("work_order_contract", added.GetOriginId()); imported {
		if _, _, err := a.run(ctx, step{event: "create_commitment_in_procore", origins: origins{"project_origin_id": j.origin},
			adjust: set("request_data.commitment.id", c.id, "request_data.commitment.origin_id", c.origin)}); err != nil {
			return err
		}
	}
	return a.moreFromERP(ctx, j, added)
}

func (a *actor) moreFromERP(ctx context.Context, j *job, c *tiebackv1.Record) error {
	if _, err := a.add(ctx, &tiebackv1.Record{
		Entity: tiebackv1.Entity_ENTITY_COMMITMENT_CHANGE_ORDER, Code: a.name("ECO"), Number: a.name("ECON"), Name: "More steel",
		JobOriginId: j.origin, VendorOriginId: a.vendors[0].origin, ContractOriginId: c.GetOriginId(), Amount: "50.00",
		Lines: []*tiebackv1.Line{{Description: "Bolts", Amount: "50.00", CostCodeOriginId: j.code.origin, CategoryOriginId: a.category.origin,
			JobOriginId: j.origin, ContractLineOriginId: c.GetLines()[0].GetOriginId(), Position: 1}},
	}); err != nil {
		return err
	}
	if _, _, err := a.run(ctx, step{event: "sync_commitment_change_orders"}); err != nil {
		return err
	}
	if j.commitment.origin == "" {
		a.s.skip("company %d: sync_contract_payments and reset_payment: no commitment was exported", a.company)
		return nil
	}
	return a.paidInERP(ctx, j)
}

// paidInERP exports an invoice, syncs its payment from the ERP and resets the payment.
func (a *actor) paidInERP(ctx context.Context, j *job) error {
	invoice, err := a.invoice(ctx, j, j.commitment)
	if err != nil || invoice.origin == "" {
		return err
	}
	paid, err := a.add(ctx, &tiebackv1.Record{
		Entity: tiebackv1.Entity_ENTITY_PAYMENT, Number: a.name("ECHK"), Amount: "250.00", Date: "2026-05-04",
		ContractOriginId: j.commitment.origin, VendorOriginId: a.vendors[0].origin, ParentOriginId: invoice.origin,
	})
	if err != nil {
		return err
	}
	if _, done, err := a.run(ctx, step{event: "sync_contract_payments"}); err != nil || !done {
		return err
	}
	if a.synced("invoice_payment", paid.GetOriginId()).id == 0 {
		a.s.skip("company %d: reset_payment: payment %s was not synced", a.company, paid.GetOriginId())
		return nil
	}
	if err := a.delete(ctx, tiebackv1.Entity_ENTITY_PAYMENT, paid.GetOriginId()); err != nil {
		return err
	}
	_, _, err = a.run(ctx, step{event: "reset_payment", origins: origins{"payment_origin_id": paid.GetOriginId()},
		adjust: set("request_data.payment_type", "check")})
	return err
}
