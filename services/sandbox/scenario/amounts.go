package scenario

import (
	"context"
)

// money presses documents whose amounts are unusual: in a foreign currency, with an amount that is
// missing, with a total that its lines do not come to.
func (d *desk) money(ctx context.Context, j *job) error {
	foreign := d.commitmentStep(j, d.vendors[1])
	cad := map[string]any{"base_currency_iso_code": "USD", "currency_exchange_rate": "0.73", "currency_iso_code": "CAD"}
	foreign.adjust = both(foreign.adjust, set("request_data.commitment.currency_configuration", cad, "request_data.commitment_items[].currency_configuration", cad))
	if d.p.cfg.OneCurrency {
		foreign.want, foreign.says = Fails, "CAD"
	}
	payload, done, err := d.do(ctx, foreign)
	if err != nil {
		return err
	}
	if done && !d.p.cfg.OneCurrency {
		if err := d.foreignInvoice(ctx, j, contract{
			ref:  d.at(payload, "work_order_contract", "request_data.commitment.id"),
			line: d.at(payload, "line_item", "request_data.commitment_items[].id"),
		}, cad); err != nil {
			return err
		}
	}
	if d.p.cfg.NoUnclear {
		return nil
	}
	return d.unclear(ctx, j)
}

// foreignInvoice bills a contract in its currency, on no cost code: those of the job have amounts in
// the company's own.
func (d *desk) foreignInvoice(ctx context.Context, j *job, c contract, currency map[string]any) error {
	s := d.invoiceStep(j, c)
	s.adjust = both(s.adjust, set("request_data.requisitions[].currency_configuration", currency,
		"request_data.requisitions[].line_items[].cost_code_id", nil, "request_data.requisitions[].line_items[].cost_code_origin_id", nil))
	_, _, err := d.do(ctx, s)
	return err
}

// unclear presses contracts whose amount nobody can know.
func (d *desk) unclear(ctx context.Context, j *job) error {
	total := d.commitmentStep(j, d.vendors[1])
	total.adjust = both(total.adjust, set("request_data.commitment.grand_total", "1.00"))
	total.want, total.says = Fails, "its grand total in Procore is 1.00"
	missing := d.commitmentStep(j, d.vendors[1])
	missing.adjust = both(missing.adjust, set("request_data.commitment_items[].amount", nil,
		"request_data.commitment_items[].extended_amount", nil, "request_data.commitment_items[].total_amount", nil))
	missing.want, missing.says = Fails, "line 1 has no amount"
	for _, s := range []step{total, missing} {
		if _, _, err := d.do(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func both(first, second func(map[string]any)) func(map[string]any) {
	return func(payload map[string]any) { first(payload); second(payload) }
}
