package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/shopspring/decimal"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
)

// ownCurrency is the default of the setting "currency".
const ownCurrency = "USD"

// keepIn sets the company's own currency. It can't be changed in books with entries.
func (b *Books) keepIn(ctx context.Context, currency string) error {
	if !currencyForm.MatchString(currency) {
		return fault.Refused("connector.currency", "connector.currency: %q is no ISO code such as USD.", currency)
	}
	return b.writer.do(ctx, func(t *tx) error {
		own, err := t.own()
		if err != nil || own == currency {
			return err
		}
		var one int
		if used, err := t.get([]any{&one}, "SELECT 1 FROM entries LIMIT 1"); err != nil {
			return err
		} else if used {
			return fault.Refused("connector.currency", "connector.currency: the books of company %d are kept in %s, which can't change to %s; set it to %s.", b.company, own, currency, own)
		}
		return t.exec("INSERT INTO facts VALUES ('currency', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", currency)
	})
}

const findOwn = "SELECT value FROM facts WHERE name = 'currency'"

// own returns the company's own currency.
func (t *tx) own() (string, error) {
	own := ownCurrency
	_, err := t.get([]any{&own}, findOwn)
	return own, err
}

// Currency returns the company's own currency, an ISO code.
func (b *Books) Currency(ctx context.Context) (string, error) {
	own := ownCurrency
	if err := b.reader.QueryRowContext(ctx, findOwn).Scan(&own); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", b.failed(err)
	}
	return own, nil
}

// currencyOf returns the currency of a record, by default the company's own.
func (t *tx) currencyOf(r *Record) (string, error) {
	if r.GetCurrency() != "" {
		return r.GetCurrency(), nil
	}
	return t.own()
}

// sameCurrency gives r the currency of its contract or invoice, and refuses r if it has another one.
func (t *tx) sameCurrency(r, of *Record) error {
	if _, moves := rules[of.GetEntity()]; !moves {
		return nil
	}
	r.Currency = cmp.Or(r.Currency, of.GetCurrency())
	has, err := t.currencyOf(r)
	if err != nil {
		return err
	}
	want, err := t.currencyOf(of)
	if err != nil || has == want {
		return err
	}
	return fault.Refused("currency", "The %s is in %s, and its %s is in %s. Enter it in %s in Procore and export it again.", call(r), has, call(of), want, want)
}

// keepCurrency refuses to change the currency of a record that others depend on.
func (t *tx) keepCurrency(r, old *Record) error {
	if _, moves := rules[r.GetEntity()]; !moves || r.GetCurrency() == old.GetCurrency() {
		return nil
	}
	is, err := t.currencyOf(r)
	if err != nil {
		return err
	}
	was, err := t.currencyOf(old)
	if err != nil || is == was {
		return err
	}
	on, err := t.dependents(r.GetEntity(), r.GetOriginId())
	if err != nil || len(on) == 0 {
		return err
	}
	return fault.Refused("currency", "The currency of the %s can't change from %s to %s: %s. Delete that first.", call(old), was, is, dependsOn(on))
}

// validMoney refuses tax and retainage that the ledger would not book.
func validMoney(r *Record) error {
	rule := rules[r.GetEntity()]
	if err := validPercent(r, r.GetRetainagePercent()); err != nil {
		return err
	}
	if r.GetRetainagePercent() != "" && !known(r.GetRetainagePercent()).IsZero() && !contract(r.GetEntity()) {
		return fault.Refused("retainage", "The %s has a retainage of %s percent, and only contracts have one in the ledger.", call(r), r.GetRetainagePercent())
	}
	taxed := !known(r.GetTaxAmount()).IsZero()
	for i, l := range r.GetLines() {
		taxed = taxed || !known(l.GetTaxAmount()).IsZero() || l.GetTaxCodeOriginId() != ""
		if rule.retainage == 0 && !known(l.GetRetainage()).IsZero() {
			return fault.Refused("retainage", "Line %d of the %s has a retainage of %s, and the ledger books none for a %s. Enter it without retainage in Procore and export it again.",
				i+1, call(r), l.GetRetainage(), Title(r.GetEntity()))
		}
		if err := validPercent(r, l.GetRetainagePercent()); err != nil {
			return err
		}
		if l.GetTaxCodeOriginId() != "" && l.GetTaxAmount() == "" && r.GetTaxAmount() == "" {
			return fault.Refused("tax", "Line %d of the %s has the tax code %q and no tax amount, and the ledger computes no tax. Enter the tax amount in Procore and export it again.",
				i+1, call(r), l.GetTaxCodeOriginId())
		}
	}
	if taxed && rule.tax == 0 {
		return fault.Refused("tax", "The %s has a tax, and the ledger books none for a %s. Enter it without tax in Procore and export it again.", call(r), Title(r.GetEntity()))
	}
	return nil
}

var hundred = decimal.New(100, 0)

func validPercent(r *Record, s string) error {
	if p, ok := money(s); ok && !p.IsNegative() && p.LessThanOrEqual(hundred) {
		return nil
	}
	return fault.Refused("retainage", "The retainage percent %q of the %s is not a number from 0 to 100. Correct it in Procore and export it again.", s, call(r))
}

// contract reports whether records of an entity have terms, such as a retainage percentage.
func contract(e Entity) bool {
	return e == Commitment || e == CommitmentChangeOrder || e == PrimeContract || e == PrimeContractChangeOrder
}

// jobCostsAgree checks that each job cost is the sum of its postings, and that all are in its currency. If not, it
// returns a wrapped ErrUnbalanced that names the first one.
func (b *Books) jobCostsAgree(ctx context.Context) error {
	posted, err := b.posted(ctx)
	if err != nil {
		return err
	}
	own, err := b.Currency(ctx)
	if err != nil {
		return err
	}
	costs, err := b.All(ctx, JobCost)
	if err != nil {
		return err
	}
	for _, r := range costs {
		if err := agrees(r, cmp.Or(r.Currency, own), posted[r.OriginId]); err != nil {
			return err
		}
	}
	return nil
}

func agrees(r *Record, currency string, posted map[balanceKey]decimal.Decimal) error {
	for k, sum := range posted {
		if k.currency != currency && !sum.IsZero() {
			return fmt.Errorf("%w: job cost %s is in %s, and has %s %s", ErrUnbalanced, r.OriginId, currency, sum, k.currency)
		}
	}
	for _, a := range []struct {
		account Account
		says    string
	}{{Budgeted, r.Amount}, {JobCosts, r.ActualAmount}} {
		if sum := posted[balanceKey{a.account, currency}]; !sum.Equal(stored(a.says)) {
			return fmt.Errorf("%w: job cost %s says %s %s, and its postings come to %s", ErrUnbalanced, r.OriginId, cmp.Or(a.says, "0"), currency, sum)
		}
	}
	return nil
}

// posted sums the postings that move job costs, by the job cost's origin id.
func (b *Books) posted(ctx context.Context) (map[string]map[balanceKey]decimal.Decimal, error) {
	rows, err := b.reader.QueryContext(ctx, "SELECT p.cost_code, p.category, e.currency, p.account, p.amount FROM postings p JOIN entries e ON e.id = p.entry_id"+
		" WHERE p.cost_code <> '' AND p.category <> '' AND p.account IN (?, ?)", int(Budgeted), int(JobCosts))
	if err != nil {
		return nil, b.failed(err)
	}
	defer rows.Close()
	out := map[string]map[balanceKey]decimal.Decimal{}
	for rows.Next() {
		var costCode, category, amount string
		var k balanceKey
		if err := rows.Scan(&costCode, &category, &k.currency, &k.account, &amount); err != nil {
			return nil, b.failed(err)
		}
		id := connector.AssignmentID(costCode, category)
		if out[id] == nil {
			out[id] = map[balanceKey]decimal.Decimal{}
		}
		out[id][k] = out[id][k].Add(stored(amount))
	}
	return out, b.failed(rows.Err())
}

// Currencies returns the currencies of the journal, sorted.
func (b *Books) Currencies(ctx context.Context) ([]string, error) {
	var all string
	err := b.reader.QueryRowContext(ctx, "SELECT coalesce(group_concat(currency, ' '), '') FROM (SELECT DISTINCT currency FROM entries ORDER BY currency)").Scan(&all)
	return strings.Fields(all), b.failed(err)
}
