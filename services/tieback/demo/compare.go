package demo

import (
	"cmp"
	"context"
	"fmt"

	"github.com/shopspring/decimal"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/payload"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/sandbox/scenario"
)

// Comparison is the result of CompareBooks.
type Comparison struct {
	Records, Amounts int      // compared
	Doubled          []string // records of Procore that are booked more than once
	Differ           []string // records and amounts that differ
}

// CompareBooks compares the books of a company with Procore's exports. Each record of a successful export must be booked once, or
// booked and deleted since. Each amount must be equal. No record of a failed export may be booked, unless another export booked it.
func CompareBooks(ctx context.Context, d connector.Driver, company int64, rows []scenario.Event, sb *sandbox.Sandbox) (Comparison, error) {
	books, err := readBooks(ctx, d, company)
	if err != nil {
		return Comparison{}, err
	}
	c := &comparison{Comparison: Comparison{Doubled: books.doubles()}, books: books, seen: map[recordID]bool{}}
	err = c.compare(rows, sb)
	return c.Comparison, err
}

// comparison is a comparison in progress.
type comparison struct {
	Comparison
	books *books
	seen  map[recordID]bool // records of successful exports
}

func (c *comparison) compare(rows []scenario.Event, sb *sandbox.Sandbox) error {
	var failed []payload.Document
	for _, row := range rows {
		if e, _ := catalogue.Lookup(row.Type); e.Category != catalogue.Export || row.Expected == scenario.DeadLetter {
			continue
		}
		docs, err := documents(sb, row)
		if err != nil {
			return err
		}
		if row.Outcome == sandbox.Failed || row.DeadLettered {
			failed = append(failed, docs[0])
			continue
		}
		for _, d := range docs {
			c.document(d.Record)
		}
	}
	for _, d := range failed {
		if id := (recordID{d.Record.Entity, d.Record.ProcoreId}); !c.seen[id] && len(c.books.live[id]) > 0 {
			c.differs("%s: the export failed in Procore, but the record is in the ERP", connector.Describe(d.Record))
		}
	}
	return nil
}

// documents returns the documents of a request's payload.
func documents(sb *sandbox.Sandbox, row scenario.Event) ([]payload.Document, error) {
	req, _ := sb.Request(row.RequestID)
	parsed, err := payload.Parse(req.Payload)
	if err != nil {
		return nil, fmt.Errorf("request %d, %s: %w", row.RequestID, row.Type, err)
	}
	docs, err := payload.Exported(row.Type, parsed)
	if err != nil {
		return nil, fmt.Errorf("request %d, %s: %w", row.RequestID, row.Type, err)
	}
	return docs, nil
}

func (c *comparison) differs(format string, args ...any) {
	c.Differ = append(c.Differ, fmt.Sprintf(format, args...))
}

func (c *comparison) document(want *tiebackv1.Record) {
	id := recordID{want.Entity, want.ProcoreId}
	c.seen[id] = true
	c.Records++
	if len(c.books.live[id]) == 0 {
		switch {
		case !c.books.listed[want.Entity]:
			c.differs("%s: the ERP does not list %s, so it is unknown whether it was booked", connector.Describe(want), connector.Plural(want.Entity))
		case !c.books.deleted[id]:
			c.differs("%s was exported, but is not in the ERP", connector.Describe(want))
		}
		return
	}
	got := c.books.live[id][0]
	if want.Name != "" && got.Name != want.Name {
		c.differs("%s is named %q in the ERP", connector.Describe(want), got.Name)
	}
	if want.Entity != tiebackv1.Entity_ENTITY_BUDGET { // the amount of a budget is the sum of its lines
		c.amount(connector.Describe(want), want.Amount, got.Amount)
	}
	c.amount("tax of "+connector.Describe(want), want.TaxAmount, got.TaxAmount)
	c.amount("retainage percent of "+connector.Describe(want), want.RetainagePercent, got.RetainagePercent)
	c.currency(want, got)
	c.lines(want, got)
}

type lineID struct {
	kind string
	id   int64
}

func (c *comparison) lines(want, got *tiebackv1.Record) {
	booked := map[lineID]*tiebackv1.Line{}
	for _, l := range got.Lines {
		booked[lineID{l.Kind, l.ProcoreId}] = l
	}
	if len(got.Lines) != len(want.Lines) && want.Entity != tiebackv1.Entity_ENTITY_BUDGET {
		c.differs("%s has %d lines in Procore and %d in the ERP", connector.Describe(want), len(want.Lines), len(got.Lines))
	}
	for i, l := range want.Lines {
		what := fmt.Sprintf("line %d of %s", i+1, connector.Describe(want))
		b := booked[lineID{l.Kind, l.ProcoreId}]
		if b == nil {
			c.differs("%s is not in the ERP", what)
			continue
		}
		c.amount(what, l.Amount, b.Amount)
		c.amount("tax of "+what, l.TaxAmount, b.TaxAmount)
		c.amount("retainage of "+what, l.Retainage, b.Retainage)
		if l.TaxCodeOriginId != b.TaxCodeOriginId {
			c.differs("%s has the tax code %q in Procore and %q in the ERP", what, l.TaxCodeOriginId, b.TaxCodeOriginId)
		}
	}
}

// currency compares the currencies of a record. If Procore names none, it is the company's, or that of the contract or invoice to
// which the record belongs.
func (c *comparison) currency(want, got *tiebackv1.Record) {
	named := func(r *tiebackv1.Record) string { return cmp.Or(r.Currency, c.books.currency) }
	if named(want) != named(got) && (want.Currency != "" || want.ContractOriginId == "" && want.ParentOriginId == "") {
		c.differs("%s is in %q in Procore and in %q in the ERP", connector.Describe(want), named(want), named(got))
	}
}

func (c *comparison) amount(what, want, got string) {
	w, err := decimal.NewFromString(cmp.Or(want, "0"))
	g, err2 := decimal.NewFromString(cmp.Or(got, "0"))
	if want != "" {
		c.Amounts++
	}
	if err != nil || err2 != nil || !w.Equal(g) {
		c.differs("%s is %s in Procore and %s in the ERP", what, cmp.Or(want, "0"), cmp.Or(got, "0"))
	}
}
