package scenario

import (
	"context"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/sandbox"
)

// still is what a user reads who unlinks too soon.
const still = "still in your ERP system"

// undoing exports records for the purpose, then unlinks and resets them.
func (d *desk) undoing(ctx context.Context) error {
	j := d.jobs[len(d.jobs)-1]
	return d.all(ctx,
		func(ctx context.Context) error { return d.undoCommitment(ctx, j) },
		func(ctx context.Context) error { return d.undoPrime(ctx, j) },
		func(ctx context.Context) error { return d.undoDirectCost(ctx, j) },
		func(ctx context.Context) error { return d.undoCostCodes(ctx, j) },
		d.undoJob,
	)
}

// unlink tries once too soon, deletes in the ERP, and unlinks.
func (d *desk) unlink(ctx context.Context, s step, entity tiebackv1.Entity, origin string) error {
	early := s
	early.want, early.says = Fails, still
	if _, _, err := d.do(ctx, early); err != nil {
		return err
	}
	if err := d.delete(ctx, entity, origin); err != nil {
		return err
	}
	_, _, err := d.do(ctx, s)
	return err
}

func (d *desk) undoCommitment(ctx context.Context, j *job) error {
	c, err := d.exportCommitment(ctx, j)
	if err != nil || c.origin == "" {
		return err
	}
	change, err := d.changeOrder(ctx, j, c)
	if err != nil {
		return err
	}
	known := origins{"job_origin_id": j.origin, "commitment_origin_id": c.origin, "commitment_change_order_origin_id": change.origin}
	if change.origin != "" {
		if err := d.unlink(ctx, step{event: "unlink_commitment_change_order", origins: known, adjust: set("request_data.project_id", j.id)},
			tiebackv1.Entity_ENTITY_COMMITMENT_CHANGE_ORDER, change.origin); err != nil {
			return err
		}
	}
	invoice, err := d.invoice(ctx, j, c)
	if err != nil {
		return err
	}
	if invoice.origin != "" { // the reset takes it out of the ERP, or else the commitment can't go
		if _, _, err := d.do(ctx, step{event: "reset_requisition", origins: origins{"requisition_origin_id": invoice.origin}, adjust: set("request_data.project_id", j.id)}); err != nil {
			return err
		}
	}
	lone, err := d.exportCommitment(ctx, j)
	if err != nil || lone.origin == "" {
		return err
	}
	known["commitment_origin_id"] = lone.origin
	return d.unlink(ctx, step{event: "unlink_commitment", origins: known, adjust: set("request_data.project_id", j.id)},
		tiebackv1.Entity_ENTITY_COMMITMENT, lone.origin)
}

func (d *desk) undoPrime(ctx context.Context, j *job) error {
	if j.prime.origin == "" {
		d.p.skip("company %d: undoing prime contract change orders and bills: no prime contract was imported", d.company)
		return nil
	}
	bill, err := d.bill(ctx, j)
	if err != nil {
		return err
	}
	if bill.doc.origin != "" {
		if err := d.unlink(ctx, step{event: "unlink_payment_application", origins: origins{"synced-pay-app-123": bill.doc.origin, "origin_id": bill.line.origin},
			adjust: set("request_data.payment_application.items[].holder_id", j.prime.id)},
			tiebackv1.Entity_ENTITY_PAYMENT_APPLICATION, bill.doc.origin); err != nil {
			return err
		}
	}
	return d.undoPrimeChanges(ctx, j)
}

func (d *desk) undoPrimeChanges(ctx context.Context, j *job) error {
	one, err := d.primeChange(ctx, j)
	if err != nil {
		return err
	}
	if one.doc.origin != "" {
		if err := d.unlink(ctx, step{event: "unlink_prime_contract_change_order", origins: origins{
			"MYPC": j.prime.origin, "MYPCCO1": one.doc.origin, "MYPCCO1LI1": one.line.origin, "project_origin_id": j.origin,
			"cost_code_origin_id": j.code.origin, "line_item_type_origin_id": d.category.origin, "prime_contract_item_origin_id": j.primeLine.origin,
		}}, tiebackv1.Entity_ENTITY_PRIME_CONTRACT_CHANGE_ORDER, one.doc.origin); err != nil {
			return err
		}
	}
	two, err := d.primeChange(ctx, j)
	if err != nil || two.doc.origin == "" {
		return err
	}
	_, _, err = d.do(ctx, step{event: "reset_prime_contract_change_order", origins: origins{
		"1e32af04-b238-458f-8e35-aab800bcd886": j.prime.origin, "123f4e60-3417-4a2e-99ae-ad0c0096513a": two.doc.origin,
		"0cccd6e7-2bd9-43c3-9f9d-aab800bce42c": j.origin, "1e7310e6-6592-4189-80cb-ab1000ff4452": j.code.origin,
		"29eddbaa-62ff-4009-806f-abde0111ee51": d.category.origin, "6e75253f-35a3-4a7d-bed4-aa62009650c4": d.category.origin,
		"3e572c2e-e33e-4652-9618-aa6200965095": d.category.origin,
	}, adjust: set("prime_contract_change_order_line_items[].id", two.line.id, "prime_contract_change_order_line_items[].origin_id", two.line.origin)})
	return err
}

func (d *desk) undoDirectCost(ctx context.Context, j *job) error {
	one, err := d.directCost(ctx, j)
	if err != nil {
		return err
	}
	if one.origin != "" {
		if err := d.unlink(ctx, step{event: "unlink_company_level_direct_cost", origins: origins{"direct_cost_origin_id": one.origin}},
			tiebackv1.Entity_ENTITY_DIRECT_COST, one.origin); err != nil {
			return err
		}
	}
	two, err := d.directCost(ctx, j)
	if err != nil || two.origin == "" {
		return err
	}
	_, _, err = d.do(ctx, step{event: "reset_company_level_direct_cost", origins: origins{"direct_cost_origin_id": two.origin}})
	return err
}

// undoCostCodes deletes an assignment and cost codes of a sub job, which nothing is booked on.
func (d *desk) undoCostCodes(ctx context.Context, j *job) error {
	if j.sub.origin == "" {
		d.p.skip("company %d: deleting cost codes: no sub job was exported", d.company)
		return nil
	}
	known := origins{"project_origin_id": j.origin, "sub_job_origin_id": j.sub.origin, "cost_code_origin_id": j.subCode.origin, "line_item_type_origin_id": d.category.origin}
	if err := d.unlink(ctx, step{event: "delete_cost_type_assignments", origins: known}, tiebackv1.Entity_ENTITY_COST_TYPE_ASSIGNMENT,
		connector.AssignmentID(j.subCode.origin, d.category.origin)); err != nil {
		return err
	}
	if err := d.unlink(ctx, step{event: "delete_cost_codes", origins: known}, tiebackv1.Entity_ENTITY_COST_CODE, j.subCode.origin); err != nil {
		return err
	}
	sub, code, err := d.exportSubJob(ctx, j)
	if err != nil || sub.origin == "" {
		return err
	}
	reset := origins{"project_origin_id": j.origin, "sub_job_origin_id": sub.origin, "cost_code_origin_id": code.origin}
	if _, _, err := d.do(ctx, step{event: "delete_cost_code", origins: reset, adjust: set("request_data.procore_sub_job_id", sub.id)}); err != nil {
		return err
	}
	_, _, err = d.do(ctx, step{event: "reset_sub_job", origins: reset})
	return err
}

func (d *desk) undoJob(ctx context.Context) error {
	j, err := d.exportJob(ctx, d.name("JOB"))
	if err != nil || j == nil {
		return err
	}
	_, _, err = d.do(ctx, step{event: "reset_job", origins: origins{"project_origin_id": j.origin}, adjust: func(payload map[string]any) {
		sandbox.Set(payload, "request_data.project.name", "Reset")
	}})
	return err
}
