package demo

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// recordID identifies a record of Procore.
type recordID struct {
	entity tiebackv1.Entity
	id     int64
}

// books are the records of an ERP that came from Procore, as the ERP lists them.
type books struct {
	live     map[recordID][]*tiebackv1.Record
	deleted  map[recordID]bool
	listed   map[tiebackv1.Entity]bool // the ERP lists this entity
	currency string                    // the company's
}

func readBooks(ctx context.Context, d connector.Driver, company int64) (*books, error) {
	caps, err := d.Capabilities(ctx, &tiebackv1.CapabilitiesRequest{CompanyId: company})
	if err != nil {
		return nil, err
	}
	b := &books{live: map[recordID][]*tiebackv1.Record{}, deleted: map[recordID]bool{}, listed: map[tiebackv1.Entity]bool{}, currency: caps.Currency}
	erp := connector.New(d, connector.Config{Company: company})
	for _, c := range caps.Entities {
		if !c.List {
			continue
		}
		b.listed[c.Entity] = true
		if err := b.read(ctx, erp, c.Entity); err != nil {
			return nil, fmt.Errorf("reading the ERP's %s: %w", connector.Plural(c.Entity), err)
		}
	}
	return b, nil
}

// read reads an entity. Of several changes of a record the last one counts.
func (b *books) read(ctx context.Context, erp *connector.ERP, entity tiebackv1.Entity) error {
	last := map[string]*tiebackv1.Change{}
	for page, err := range erp.Changes(ctx, &tiebackv1.ListRequest{Entity: entity}) {
		if err != nil {
			return err
		}
		for _, c := range page.Changes {
			last[c.GetRecord().GetOriginId()] = c
		}
	}
	for _, origin := range slices.Sorted(maps.Keys(last)) {
		c := last[origin]
		id := recordID{entity, c.Record.ProcoreId}
		switch {
		case id.id == 0:
		case c.Deleted:
			b.deleted[id] = true
		default:
			b.live[id] = append(b.live[id], c.Record)
		}
	}
	return nil
}

// doubles describes the records of Procore that are booked more than once.
func (b *books) doubles() []string {
	var out []string
	for id, records := range b.live {
		if len(records) > 1 {
			var origins []string
			for _, r := range records {
				origins = append(origins, r.OriginId)
			}
			out = append(out, fmt.Sprintf("%s %d is booked as %v", connector.Noun(id.entity), id.id, origins))
		}
	}
	slices.Sort(out)
	return out
}
