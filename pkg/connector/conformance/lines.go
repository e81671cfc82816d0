package conformance

import (
	"context"
	"errors"
	"fmt"

	"github.com/shopspring/decimal"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// document returns the simplest document that the connector books, preferably one that it also lists.
func (s *suite) document() Entity { return s.among("put", documents, putsAndLists, puts) }

// long returns a put of a document with 200 lines: 1.01, 2.02, 3.03 …
func (s *suite) long(ctx context.Context) (q *tiebackv1.PutRequest, from string) {
	e := s.document()
	from, q = s.cursor(ctx, e), s.newPut(ctx, e)
	var amounts []string
	for i := range 200 {
		amounts = append(amounts, decimal.New(int64(i+1)*101, -2).String())
	}
	s.setLines(q, amounts...)
	return q, from
}

func manyLines(ctx context.Context, s *suite) error {
	q, from := s.long(ctx)
	b := s.put(ctx, s.main, q)
	return errors.Join(distinct(b.LineOriginIds), s.checkListed(ctx, from, q, b))
}

func distinct(ids []string) error {
	at := map[string]int{}
	for i, id := range ids {
		if id == "" {
			return fmt.Errorf("line %d has no origin id", i+1)
		}
		if first, known := at[id]; known {
			return fmt.Errorf("lines %d and %d have the same origin id %s", first+1, i+1, id)
		}
		at[id] = i
	}
	return nil
}

// checkListed compares a listed document with the one that was booked. It finds a line by the origin id at
// the line's position in the booking.
func (s *suite) checkListed(ctx context.Context, from string, q *tiebackv1.PutRequest, b *tiebackv1.Booking) error {
	if !s.cans[q.Record.Entity].List {
		return nil
	}
	r, err := s.since(ctx, q.Record.Entity, from).exactlyOne(q, b)
	if err != nil {
		return err
	}
	return compare(r, q.Record, b.LineOriginIds)
}

func compare(got, sent *Record, ids []string) error {
	if len(got.Lines) != len(sent.Lines) {
		return fmt.Errorf("%d lines were booked, but the listing has %d", len(sent.Lines), len(got.Lines))
	}
	by := map[string]*tiebackv1.Line{}
	sum := decimal.Zero
	for _, l := range got.Lines {
		by[l.OriginId] = l
		sum = sum.Add(amount(l.Amount))
	}
	for i, l := range sent.Lines {
		is := by[ids[i]]
		if is == nil {
			return fmt.Errorf("line %d was booked as %s, but the listing has no such line", i+1, ids[i])
		}
		if !amount(is.Amount).Equal(amount(l.Amount)) {
			return fmt.Errorf("line %d with the amount %s was booked as %s, but the listing has the amount %s", i+1, l.Amount, ids[i], is.Amount)
		}
	}
	total := amount(sent.Amount)
	if !sum.Equal(total) || got.Amount != "" && !amount(got.Amount).Equal(total) {
		return fmt.Errorf("the total %s became %q, but the lines add up to %s", total, got.Amount, sum)
	}
	return nil
}

// amount reads a decimal. It returns an impossible amount for an invalid one.
func amount(s string) decimal.Decimal {
	d, err := decimal.NewFromString(s)
	if err != nil && s != "" {
		return decimal.New(-1, 30)
	}
	return d
}

func oneBadLine(ctx context.Context, s *suite) error {
	q, from := s.long(ctx)
	if q.Record.Lines[0].CostCodeOriginId == "" {
		return leaveOut("the ERP has no cost codes, so no line can be on an unknown one")
	}
	q.Record.Lines[137].CostCodeOriginId = "unknown-" + s.target.Unique
	if err := s.refuses(ctx, from, q, ""); err != nil {
		return fmt.Errorf("%s with line 138 of 200 on an unknown cost code: %w", aNoun(q.Record.Entity), err)
	}
	return nil
}
