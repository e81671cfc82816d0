package syncs

import (
	"cmp"
	"context"
	"maps"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/bulk"
)

// standard is an entity of a company that is written to Procore directly, without staging. Procore's ids of its
// records are kept as links, because exports and other syncs use them.
type standard struct {
	entity   tiebackv1.Entity
	itemType string
	call     procore.SyncCall
	update   func(r *tiebackv1.Record, code string, parent int64) map[string]any
}

func syncStandardCostCodes(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	named, err := t.Payload.Data.RefID("standard_cost_code_list_id")
	if err != nil {
		return nil, err
	}
	list := cmp.Or(named, t.Company.StandardCostCodeListID)
	if list == 0 {
		return nil, fault.Permanentf("The standard cost code list of your company is not configured. Ask the administrator of your ERP integration to set standard_cost_code_list_id in Tieback's companies file (Procore shows the id when the ERP connection is set up), then sync again.")
	}
	return standard{
		entity: standardCostCode, itemType: "standard_cost_code",
		call: procore.SyncCall{
			Route:    procore.SyncStandardCostCodes,
			Envelope: map[string]any{"company_id": t.Event.CompanyId, "standard_cost_code_list_id": list},
		},
		update: func(r *tiebackv1.Record, code string, parent int64) map[string]any {
			return bulk.Fields("code", code, "name", cmp.Or(r.Name, r.Description), "parent_id", parent)
		},
	}.handle(ctx, t)
}

// baseTypes are Procore's base types of cost types. A type of the ERP that is neither one of these nor in
// otherBaseTypes is left out, as Procore refuses it. "labor" has no counterpart.
var (
	baseTypes      = []string{"equipment", "materials", "commitment", "owner_cost", "professional_services", "other"}
	otherBaseTypes = map[string]string{
		"material": "materials", "subcontract": "commitment", "subcontracts": "commitment", "subcontractor": "commitment", "commitments": "commitment",
		"owner": "owner_cost", "professional_service": "professional_services",
	}
)

func syncStandardCategories(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	return standard{
		entity: standardCategory, itemType: "line_item_type",
		call: procore.SyncCall{Route: procore.SyncLineItemTypes, Envelope: map[string]any{"company_id": t.Event.CompanyId}},
		update: func(r *tiebackv1.Record, code string, _ int64) map[string]any {
			return bulk.Fields("csv_import_code", code, "name", cmp.Or(r.Name, r.Code), "base_type", bulk.Term(r.Kind, baseTypes, otherBaseTypes))
		},
	}.handle(ctx, t)
}

func (s standard) handle(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	known, err := t.State.Links(ctx, t.Event.CompanyId, s.itemType)
	if err != nil {
		return nil, err
	}
	pos, err := loadPosition(ctx, t, s.entity)
	if err != nil {
		return nil, err
	}
	d, err := s.due(ctx, t, pos, known)
	if err != nil {
		return nil, err
	}
	ids := maps.Clone(known)
	answer, err := bulk.WriteTree(ctx, t.Procore, s.call, d.records, ids, func(r *tiebackv1.Record) map[string]any {
		m := s.update(r, d.codes[r.OriginId], ids[r.ParentOriginId])
		maps.Copy(m, bulk.Fields("id", cmp.Or(known[r.OriginId], r.ProcoreId), "origin_id", r.OriginId, "origin_data", r.OriginData))
		return m
	})
	if err != nil {
		return nil, err
	}
	if err := pos.advance(ctx, d.changes, d.retries(answer, ids), d.cursor); err != nil {
		return nil, err
	}
	report := &bulk.Report{
		Noun: connector.Plural(s.entity), Updated: len(d.records) - len(answer.Refused), Refused: answer.Refused,
		Links: answer.Links(s.itemType, known),
	}
	return report.CloseOuts(t), nil
}

// due is the part of a standard entity that has to be written to Procore.
type due struct {
	changes []*tiebackv1.Change // since the saved position, and those that waited
	cursor  string
	records []*tiebackv1.Record // those to write
	exists  map[string]bool     // origin ids of all records of the ERP
	codes   map[string]string   // Procore's code segments of all records of the ERP
}

// due reads the changes since the saved position, the records that wait, and the records whose Procore id is
// not known: Procore's ids travel in outcomes, and an outcome may have been lost.
func (s standard) due(ctx context.Context, t *worker.Task, pos *position, known map[string]int64) (due, error) {
	d := due{cursor: pos.saved.Cursor, exists: map[string]bool{}}
	wanted := maps.Clone(pos.waiting)
	req := &tiebackv1.ListRequest{Entity: s.entity, Cursor: pos.saved.Cursor, Limit: procore.MaxUpdates}
	for page, err := range changesSince(ctx, t, req) {
		if err != nil {
			return d, err
		}
		for _, c := range page.Changes {
			wanted[c.Record.OriginId] = true
		}
		d.changes, d.cursor = append(d.changes, page.Changes...), page.Cursor
	}
	for origin := range pos.waiting { // tried now, so it no longer waits unless it is refused again
		d.changes = append(d.changes, &tiebackv1.Change{Record: &tiebackv1.Record{OriginId: origin}})
	}
	all, err := bulk.List(ctx, t, &tiebackv1.ListRequest{Entity: s.entity})
	d.codes = bulk.Segments(all)
	for _, r := range all {
		d.exists[r.OriginId] = true
		if wanted[r.OriginId] || known[r.OriginId] == 0 {
			d.records = append(d.records, r)
		}
	}
	return d, err
}

// retries returns the origin ids to write again: the refused records, and those whose parent was refused.
func (d due) retries(answer bulk.Answer, ids map[string]int64) map[string]bool {
	retry := map[string]bool{}
	var items []bulk.Item
	for _, r := range d.records {
		items = append(items, bulk.Item{Record: r})
		if r.ParentOriginId != "" && d.exists[r.ParentOriginId] && ids[r.ParentOriginId] == 0 {
			retry[r.OriginId] = true
		}
	}
	addRetries(retry, answer.Refused, items)
	return retry
}
