package demo

import (
	"context"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/sandbox/accountants"
)

// Held is what an ERP's books hold beside what Procore exported.
type Held struct {
	Records, Amounts int      // compared
	Doubled          []string // records of Procore that are booked more than once
	Differ           []string // what is missing, too much or another amount
}

// Hold compares a company's books with the exports of a play, for whoever judges one from outside.
func Hold(ctx context.Context, d connector.Driver, company int64, rows []accountants.Row, sb *sandbox.Sandbox) (Held, error) {
	books, err := readBooks(ctx, d, company)
	if err != nil {
		return Held{}, err
	}
	c, err := compare(books, rows, sb)
	if err != nil {
		return Held{}, err
	}
	return Held{Records: c.records, Amounts: c.amounts, Doubled: books.doubles(), Differ: c.differ}, nil
}
