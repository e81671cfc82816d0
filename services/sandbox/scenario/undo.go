package scenario

import (
	"context"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// still is a part of the message for an unlink of a record that the ERP still has.
const still = "still in your ERP system"

// undo exports records, then unlinks and resets them.
func (a *actor) undo(ctx context.Context) error {
	j := a.jobs[len(a.jobs)-1]
	return runAll(ctx,
		func(ctx context.Context) error { return a.undoCommitment(ctx, j) },
		func(ctx context.Context) error { return a.undoPrime(ctx, j) },
		func(ctx context.Context) error { return a.undoDirectCost(ctx, j) },
		func(ctx context.Context) error { return a.undoCostCodes(ctx, j) },
		a.undoJob,
	)
}

// unlink presses Unlink, which must fail, deletes the record in the ERP, and presses Unlink again.
func (a *actor) unlink(ctx context.Context, s step, entity tiebackv1.Entity, origin string) error {
	early := s
	early.want, early.message = Fails, still
	if _, _, err := a.run(ctx, early); err != nil {
		return err
	}
	if err := a.delete(ctx, entity, origin); err != nil {
		return err
	}
	_, _, err := a.run(ctx, s)
	return err
}

func (a *actor) undoCommitment(ctx context.Context, j *job) error {
	c, err := a.exportCommitment(ctx, j)
	if err != nil || c.origin == "" {
		return err
	}
	change, err := a.changeOrder(ctx, j, c)
	if err != nil {
		return err
	}
	known := origins{"job_origin_id": j.origin, "commitment_origin_id": c.origin, "commitment_change_order_origin_id": change.origin}
	if change.origin != "" {
		if err := a.unlink(ctx, step{event: "unlink_commitment_change_order", origins: known, adjust: set("request_data.project_id", j.id)},
			tiebackv1.Entity_ENTITY_COMMITMENT_CHANGE_ORDER, change.origin); err != nil {
			return err
		}
	}
	invoice, err := a.invoice(ctx, j, c)
	if err != nil {
		return err
	}
	if invoice.origin != "" { // the reset removes it from the ERP; otherwise the commitment cannot be deleted
		if _, _, err := a.run(ctx, step{event: "reset_requisition", origins: origins{"requisition_origin_id": invoice.origin}, adjust: set("request_data.project_id", j.id)}); err != nil {
			return err
		}
	}
	lone, err := a.exportCommitment(ctx, j)
	if err != nil || lone.origin == "" {
		return err
	}
	known["commitment_origin_id"] = lone.origin
	return a.unlink(ctx, step{event: "unlink_commitment", origins: known, adjust: set("request_data.project_id", j.id)},
		tiebackv1.Entity_ENTITY_COMMITMENT, lone.origin)
}

func (a *actor) undoPrime(ctx context.Context, j *job) error {
	if j.prime.origin == "" {
		a.s.skip("company %d: undoing prime contract change orders and bills: no prime contract was imported", a.company)
		return nil
	}
	bill, err := a.bill(ctx, j)
	if err != nil {
		return err
	}
	if bill.doc.origin != "" {
		if err := a.unlink(ctx, step{event: "unlink_payment_application", origins: origins{"synced-pay-app-123": bill.doc.origin, "origin_id": bill.line.origin},
			adjust: set("request_data.payment_application.items[].holder_id", j.prime.id)},
			tiebackv1.Entity_ENTITY_PAYMENT_APPLICATION, bill.doc.origin); err != nil {
			return err
		}
	}
	return a.undoPrimeChanges(ctx, j)
}

func (a *actor) undoPrimeChanges(ctx context.Context, j *job) error {
	one, err := a.primeChange(ctx, j)
	if err != nil {
		return err
	}
	if one.doc.origin != "" {
		if err := a.unlink(ctx, step{event: "unlink_prime_contract_change_order", origins: origins{
			"MYPC": j.prime.origin, "MYPCCO1": one.doc.origin, "MYPCCO1LI1": one.line.origin, "project_origin_id": j.origin,
			"cost_code_origin_id": j.code.origin, "line_item_type_origin_id": a.category.origin, "prime_contract_item_origin_id": j.primeLine.origin,
		}}, tiebackv1.Entity_ENTITY_PRIME_CONTRACT_CHANGE_ORDER, one.doc.origin); err != nil {
			return err
		}
	}
	two, err := a.primeChange(ctx, j)
	if err != nil || two.doc.origin == "" {
		return err
	}
	_, _, err = a.run(ctx, step{event: "reset_prime_contract_change_order", origins: origins{
		"1e32af04-b238-458f-8e35-aab800bcd886": j.prime.origin, "123f4e60-3417-4a2e-99ae-ad0c0096513a": two.doc.origin,
		"0cccd6e7-2bd9-43c3-9f9d-aab800bce42c": j.origin, "1e7310e6-6592-4189-80cb-ab1000ff4452": j.code.origin,
		"29eddbaa-62ff-4009-806f-abde0111ee51": a.category.origin, "6e75253f-35a3-4a7d-bed4-aa62009650c4": a.category.origin,
		"3e572c2e-e33e-4652-9618-aa6200965095": a.category.origin,
	}, adjust: set("prime_contract_change_order_line_items[].id", two.line.id, "prime_contract_change_order_line_items[].origin_id", two.line.origin)})
	return err
}

func (a *actor) undoDirectCost(ctx context.Context, j *job) error {
	one, err := a.directCost(ctx, j)
	if err != nil {
		return err
	}
	if one.origin != "" {
		if err := a.unlink(ctx, step{event: "unlink_company_level_direct_cost", origins: origins{"direct_cost_origin_id": one.origin}},
			tiebackv1.Entity_ENTITY_DIRECT_COST, one.origin); err != nil {
			return err
		}
	}
	two, err := a.directCost(ctx, j)
	if err != nil || two.origin == "" {
		return err
	}
	_, _, err = a.run(ctx, step{event: "reset_company_level_direct_cost", origins: origins{"direct_cost_origin_id": two.origin}})
	return err
}

// undoCostCodes deletes an assignment and cost codes of a sub job that have no amounts.
func (a *actor) undoCostCodes(ctx context.Context, j *job) error {
	if j.sub.origin == "" {
		a.s.skip("company %d: deleting cost codes: no sub job was exported", a.company)
		return nil
	}
	known := origins{"project_origin_id": j.origin, "sub_job_origin_id": j.sub.origin, "cost_code_origin_id": j.subCode.origin, "line_item_type_origin_id": a.category.origin}
	if err := a.unlink(ctx, step{event: "delete_cost_type_assignments", origins: known}, tiebackv1.Entity_ENTITY_COST_TYPE_ASSIGNMENT,
		connector.AssignmentID(j.subCode.origin, a.category.origin)); err != nil {
		return err
	}
	if err := a.unlink(ctx, step{event: "delete_cost_codes", origins: known}, tiebackv1.Entity_ENTITY_COST_CODE, j.subCode.origin); err != nil {
		return err
	}
	sub, code, err := a.exportSubJob(ctx, j)
	if err != nil || sub.origin == "" {
		return err
	}
	reset := origins{"project_origin_id": j.origin, "sub_job_origin_id": sub.origin, "cost_code_origin_id": code.origin}
	if _, _, err := a.run(ctx, step{event: "delete_cost_code", origins: reset, adjust: set("request_data.procore_sub_job_id", sub.id)}); err != nil {
		return err
	}
	_, _, err = a.run(ctx, step{event: "reset_sub_job", origins: reset})
	return err
}

func (a *actor) undoJob(ctx context.Context) error {
	j, err := a.exportJob(ctx, a.name("JOB"))
	if err != nil || j == nil {
		return err
	}
	_, _, err = a.run(ctx, step{event: "reset_job", origins: origins{"project_origin_id": j.origin}, adjust: set("request_data.project.name", "Reset")})
	return err
}
