package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/shopspring/decimal"
)

// Booking is a record with what the books know of it, to compare with what was exported.
type Booking struct {
	Record  *Record         // with its lines, as booked
	Keys    []string        // of all Puts that created or changed it; none: made by hand
	Deleted bool            // out of the books, its entries reversed
	Amount  decimal.Decimal // what its standing journal entries say; zero if deleted
	Entries int             // journal entries it ever made, reversals included
}

const bookings = "SELECT " + rowColumns + `,
	coalesce((SELECT group_concat(k.key, char(10)) FROM keys k WHERE k.record_id = r.id), ''),
	coalesce((SELECT group_concat(e.amount, ' ') FROM entries e WHERE e.record_id = r.id), '')
	FROM records r ORDER BY r.id`

// Bookings goes through all records, deleted ones too, in the order they were created, as
// the books are at one moment. An error ends the iteration.
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
	for a := range strings.FieldsSeq(amounts) { // a reversal's amount is the opposite of what it reverses
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

// Twice is a record of Procore that is live more than once in the books.
type Twice struct {
	Entity    Entity
	ProcoreID int64
	OriginIDs []string
}

// Doubles lists what was booked twice: one procore id live under several origin ids. (One key
// can't be booked twice: the database forbids it.) Empty is how it must be.
func (b *Books) Doubles(ctx context.Context) ([]Twice, error) {
	rows, err := b.reader.QueryContext(ctx, "SELECT entity, procore_id, group_concat(origin_id, ' ') FROM records"+
		" WHERE deleted = 0 AND procore_id <> 0 GROUP BY entity, procore_id HAVING count(*) > 1 ORDER BY entity, procore_id")
	if err != nil {
		return nil, b.failed(err)
	}
	defer rows.Close()
	var out []Twice
	for rows.Next() {
		var t Twice
		var origins string
		if err := rows.Scan(&t.Entity, &t.ProcoreID, &origins); err != nil {
			return nil, b.failed(err)
		}
		t.OriginIDs = strings.Fields(origins)
		out = append(out, t)
	}
	return out, b.failed(rows.Err())
}

// Balance is what an account stands at in one currency, an ISO code; debit positive.
type Balance struct {
	Account  Account
	Currency string
	Amount   decimal.Decimal
}

type balanceKey struct {
	account  Account
	currency string
}

// TrialBalance sums the accounts, in no order, and checks every entry on the way.
// ErrUnbalanced, wrapped, names the first entry whose debit is not its credit.
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

// ErrUnbalanced is returned by TrialBalance and Balanced when debit and credit differ,
// which means that someone wrote to the file by other ways than this package.
var ErrUnbalanced = errors.New("the books don't balance")

// Balanced proves that every entry balances, that the accounts sum up to zero in every currency, and
// that no job cost has amounts of two currencies.
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
