package scenario

import "context"

// amounts exports documents in a foreign currency, without an amount, and with a wrong total.
func (a *actor) amounts(ctx context.Context, j *job) error {
	foreign := a.commitmentStep(j, a.vendors[1])
	cad := map[string]any{"base_currency_iso_code": "USD", "currency_exchange_rate": "0.73", "currency_iso_code": "CAD"}
	foreign.adjust = both(foreign.adjust, set("request_data.commitment.currency_configuration", cad, "request_data.commitment_items[].currency_configuration", cad))
	if a.s.cfg.OneCurrency {
		foreign.want, foreign.message = Fails, "CAD"
	}
	payload, done, err := a.run(ctx, foreign)
	if err != nil {
		return err
	}
	if done && !a.s.cfg.OneCurrency {
		if err := a.foreignInvoice(ctx, j, contract{
			ref:  a.record(payload, "work_order_contract", "request_data.commitment.id"),
			line: a.record(payload, "line_item", "request_data.commitment_items[].id"),
		}, cad); err != nil {
			return err
		}
	}
	if a.s.cfg.NoUnclear {
		return nil
	}
	return a.unclear(ctx, j)
}

// foreignInvoice exports an invoice in a foreign currency, without a cost code, because the cost codes of the job have
// amounts in the company's currency.
func (a *actor) foreignInvoice(ctx context.Context, j *job, c contract, currency map[string]any) error {
	s := a.invoiceStep(j, c)
	s.adjust = both(s.adjust, set("request_data.requisitions[].currency_configuration", currency,
		"request_data.requisitions[].line_items[].cost_code_id", nil, "request_data.requisitions[].line_items[].cost_code_origin_id", nil))
	_, _, err := a.run(ctx, s)
	return err
}

// unclear exports contracts with a wrong total and without an amount.
func (a *actor) unclear(ctx context.Context, j *job) error {
	total := a.commitmentStep(j, a.vendors[1])
	total.adjust = both(total.adjust, set("request_data.commitment.grand_total", "1.00"))
	total.want, total.message = Fails, "its grand total in Procore is 1.00"
	missing := a.commitmentStep(j, a.vendors[1])
	missing.adjust = both(missing.adjust, set("request_data.commitment_items[].amount", nil,
		"request_data.commitment_items[].extended_amount", nil, "request_data.commitment_items[].total_amount", nil))
	missing.want, missing.message = Fails, "line 1 has no amount"
	for _, s := range []step{total, missing} {
		if _, _, err := a.run(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func both(first, second func(map[string]any)) func(map[string]any) {
	return func(payload map[string]any) { first(payload); second(payload) }
}
