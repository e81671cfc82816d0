package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/shopspring/decimal"
)

// Booking is a record with its keys and entries, for a comparison with the exports.
type Booking struct {
	Record  *Record         // with its lines, as booked
	Keys    []string        // of all Puts that wrote it; none: entered by hand
	Deleted bool            // removed, its entries reversed
	Amount  decimal.Decimal // the sum of its entries; zero if deleted
	Entries int             // the number of its entries, including reversals
}

const bookings = "SELECT " + rowColumns + `,
	coalesce((SELECT group_concat(k.key, char(10)) FROM keys k WHERE k.record_id = r.id), ''),
	coalesce((SELECT group_concat(e.amount, ' ') FROM entries e WHERE e.record_id = r.id), '')
	FROM records r ORDER BY r.id`

// Bookings returns all records, including deleted ones, in the order of their creation, from one snapshot of
// the books. An error ends the iteration.
func (b *Books) Bookings(ctx context.Context) iter.Seq2[Booking, error] {
	return func(yield func(Booking, error) bool) {
		rows, err := b.reader.QueryContext(ctx, bookings)
		if err != nil {
			yield(Booking{}, b.failed(err))
			return
		}
		defer rows.Close()
		for rows.Next() {
			booking, err := scanBooking(rows)
			if !yield(booking, b.failed(err)) || err != nil {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Booking{}, b.failed(err))
		}
	}
}

func scanBooking(s scanner) (Booking, error) {
	var keys, amounts string
	r, err := scanRow(scanWith{s, []any{&keys, &amounts}})
	if err != nil {
		return Booking{}, err
	}
	out := Booking{Record: r.rec, Deleted: r.deleted, Amount: decimal.Zero}
	if keys != "" {
		out.Keys = strings.Split(keys, "\n")
	}
	for a := range strings.FieldsSeq(amounts) { // the amount of a reversal is that of its entry, negated
		out.Entries++
		out.Amount = out.Amount.Add(stored(a))
	}
	return out, nil
}

// scanWith reads further columns after those of the row.
type scanWith struct {
	scanner
	more []any
}

func (s scanWith) Scan(dest ...any) error { return s.scanner.Scan(append(dest, s.more...)...) }

// Duplicate is a record of Procore that the books have more than once.
type Duplicate struct {
	Entity    Entity
	ProcoreID int64
	OriginIDs []string
}

// Duplicates returns the records of Procore that are live under several origin ids. There must be none. (A key
// can't be booked twice, as it is unique in the database.)
func (b *Books) Duplicates(ctx context.Context) ([]Duplicate, error) {
	rows, err := b.reader.QueryContext(ctx, "SELECT entity, procore_id, group_concat(origin_id, ' ') FROM records"+
		" WHERE deleted = 0 AND procore_id <> 0 GROUP BY entity, procore_id HAVING count(*) > 1 ORDER BY entity, procore_id")
	if err != nil {
		return nil, b.failed(err)
	}
	defer rows.Close()
	var out []Duplicate
	for rows.Next() {
		var t Duplicate
		var origins string
		if err := rows.Scan(&t.Entity, &t.ProcoreID, &origins); err != nil {
			return nil, b.failed(err)
		}
		t.OriginIDs = strings.Fields(origins)
		out = append(out, t)
	}
	return out, b.failed(rows.Err())
}

// Balance is the balance of an account in one currency, an ISO code. Debit is positive.
type Balance struct {
	Account  Account
	Currency string
	Amount   decimal.Decimal
}

type balanceKey struct {
	account  Account
	currency string
}

// TrialBalance returns the balances of all accounts, in no order. If the debit and credit of an entry differ, it
// returns a wrapped ErrUnbalanced that names the first such entry.
func (b *Books) TrialBalance(ctx context.Context) ([]Balance, error) {
	rows, err := b.reader.QueryContext(ctx, "SELECT e.id, e.currency, p.account, p.amount FROM postings p JOIN entries e ON e.id = p.entry_id ORDER BY p.entry_id")
	if err != nil {
		return nil, b.failed(err)
	}
	defer rows.Close()
	sums := map[balanceKey]decimal.Decimal{}
	var current int64
	open := decimal.Zero
	for rows.Next() {
		var id int64
		var k balanceKey
		var amount string
		if err := rows.Scan(&id, &k.currency, &k.account, &amount); err != nil {
			return nil, b.failed(err)
		}
		if id != current && !open.IsZero() {
			break
		}
		current = id
		d, err := decimal.NewFromString(amount)
		if err != nil {
			return nil, fmt.Errorf("%w: entry %d has the amount %q", ErrUnbalanced, id, amount)
		}
		open, sums[k] = open.Add(d), sums[k].Add(d)
	}
	if err := rows.Err(); err != nil {
		return nil, b.failed(err)
	}
	if !open.IsZero() {
		return nil, fmt.Errorf("%w: entry %d is off by %s", ErrUnbalanced, current, open)
	}
	var out []Balance
	for k, sum := range sums {
		out = append(out, Balance{k.account, k.currency, sum})
	}
	return out, nil
}

// ErrUnbalanced is returned by TrialBalance and Balanced if debit and credit differ: another program has written
// to the file.
var ErrUnbalanced = errors.New("the books don't balance")

// Balanced checks that every entry balances, that the accounts sum up to zero in every currency, and that no job
// cost has amounts of two currencies.
func (b *Books) Balanced(ctx context.Context) error {
	accounts, err := b.TrialBalance(ctx)
	if err != nil {
		return err
	}
	total := map[string]decimal.Decimal{}
	for _, a := range accounts {
		total[a.Currency] = total[a.Currency].Add(a.Amount)
	}
	for currency, sum := range total {
		if !sum.IsZero() {
			return fmt.Errorf("%w: the trial balance in %q is off by %s", ErrUnbalanced, currency, sum)
		}
	}
	return b.jobCostsAgree(ctx)
}
