package demo

import (
	"fmt"

	"github.com/shopspring/decimal"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/payload"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/sandbox/accountants"
)

// comparison holds the ERP's books against what Procore exported: each record of a
// successful export is there once, or was there and was taken out since; each amount is the
// same to the last digit; nothing of a failed export is there.
type comparison struct {
	books   *books
	seen    map[recordID]bool // of successful exports
	records int
	amounts int
	differ  []string
}

func compare(b *books, rows []accountants.Row, sb *sandbox.Sandbox) (*comparison, error) {
	c := &comparison{books: b, seen: map[recordID]bool{}}
	var failed []payload.Document
	for _, row := range rows {
		if e, _ := catalogue.Lookup(row.Type); e.Category != catalogue.Export || row.Expected == accountants.DeadLetter {
			continue
		}
		docs, err := documents(sb, row)
		if err != nil {
			return nil, err
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
		if id := (recordID{d.Record.Entity, d.Record.ProcoreId}); !c.seen[id] && len(b.live[id]) > 0 {
			c.differs("%s failed in Procore, and is in the ERP", connector.Describe(d.Record))
		}
	}
	return c, nil
}

// documents returns the documents of a request's payload.
func documents(sb *sandbox.Sandbox, row accountants.Row) ([]payload.Document, error) {
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
	c.differ = append(c.differ, fmt.Sprintf(format, args...))
}

func (c *comparison) document(want *tiebackv1.Record) {
	id := recordID{want.Entity, want.ProcoreId}
	c.seen[id] = true
	c.records++
	if len(c.books.live[id]) == 0 {
		switch {
		case !c.books.told[want.Entity]:
			c.differs("%s: the ERP does not list %s, so nobody can say whether it was booked", connector.Describe(want), connector.Plural(want.Entity))
		case !c.books.gone[id]:
			c.differs("%s was exported, and is not in the ERP", connector.Describe(want))
		}
		return
	}
	got := c.books.live[id][0]
	if want.Name != "" && got.Name != want.Name {
		c.differs("%s is named %q in the ERP", connector.Describe(want), got.Name)
	}
	if want.Entity != tiebackv1.Entity_ENTITY_BUDGET { // a budget grows by its lines
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

// currency holds the currency of a record against the ERP's. One that is not named in Procore is the
// company's own, or that of the contract or invoice it belongs to, which the ERP may name.
func (c *comparison) currency(want, got *tiebackv1.Record) {
	named := func(r *tiebackv1.Record) string {
		if r.Currency == "" {
			return c.books.own
		}
		return r.Currency
	}
	if named(want) != named(got) && (want.Currency != "" || want.ContractOriginId == "" && want.ParentOriginId == "") {
		c.differs("%s is in %q in Procore and in %q in the ERP", connector.Describe(want), named(want), named(got))
	}
}

func (c *comparison) amount(what, want, got string) {
	w, err := decimal.NewFromString(or(want))
	g, err2 := decimal.NewFromString(or(got))
	if want != "" {
		c.amounts++
	}
	if err != nil || err2 != nil || !w.Equal(g) {
		c.differs("%s: Procore says %s, the ERP %s", what, or(want), or(got))
	}
}

func or(amount string) string {
	if amount == "" {
		return "0"
	}
	return amount
}
