package syncs

import (
	"context"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/bulk"
)

// kind describes how the records of an entity get into Procore. A new record waits in "Ready to import" as a staged
// record; a record that Procore already has is updated directly.
//
//	the ERP's record      linked in Procore         not linked
//	active                updated                   staged
//	inactive              updated                   archived
//	deleted               retired                   archived
//
// In a first sync nothing was staged before, so nothing is archived. Unless restage is set, an unlinked record that came
// from Procore (it has a Procore id) is not staged: either its export is still running, or the user unlinked it and can
// export or link it again.
type kind struct {
	entity    tiebackv1.Entity
	itemTypes []string // under which Procore stages it: one, or two if the record's kind decides
	linked    []string // the item types under which it is linked
	data      func(*tiebackv1.Record) map[string]any
	lines     func(*tiebackv1.Record) []map[string]any           // nil: it has no lines
	update    func(*tiebackv1.Record) map[string]any             // nil: a linked record is left unchanged
	retire    map[string]any                                     // the update of a deleted record; nil: it is left unchanged
	write     func(context.Context, *staging, []bulk.Item) error // writes updates
	calls     func(*staging) func([]*tiebackv1.Change) int       // see feed
	limit     int32                                              // see feed
	restage   bool                                               // a record that is linked or came from Procore is staged too
	blocked   func(*staging, *tiebackv1.Record) string           // why it can't be synced yet, or ""; nil: never blocked
	needs     []string                                           // other item types; the functions blocked and write need their links
}

// staging is one sync of a kind.
type staging struct {
	kind
	task   *worker.Task
	links  map[string]map[string]int64 // by item type and origin id
	report *bulk.Report
	retry  map[string]bool // origin ids of the current batch to try again
}

func (k kind) handle(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	s := &staging{kind: k, task: t, links: map[string]map[string]int64{}, report: &bulk.Report{Noun: connector.Plural(k.entity)}}
	for _, itemType := range slices.Concat(k.linked, k.needs) {
		links, err := t.State.Links(ctx, t.Event.CompanyId, itemType)
		if err != nil {
			return nil, err
		}
		s.links[itemType] = links
	}
	f := feed{entity: k.entity, limit: k.limit, write: s.writeBatch}
	if k.calls != nil {
		f.calls = k.calls(s)
	}
	if err := f.run(ctx, t); err != nil {
		return nil, err
	}
	return s.report.CloseOuts(t), nil
}

// writeBatch sorts the records of a batch into calls, makes the calls and returns the origin ids to try
// again.
func (s *staging) writeBatch(ctx context.Context, b batch) (map[string]bool, error) {
	s.retry = map[string]bool{}
	var staged, archived, updates []bulk.Item
	for _, c := range b.changes {
		id := s.id(c.Record)
		switch {
		case id != 0 && !s.restage:
			updates = append(updates, s.updateOf(c, id)...)
		case c.Deleted || c.Record.Inactive:
			if !b.first && id == 0 {
				archived = append(archived, s.archiveItems(c.Record)...)
			}
		case c.Record.ProcoreId == 0 || s.restage:
			staged = append(staged, s.stageItems(c.Record)...)
		}
	}
	if err := s.writeStaged(ctx, staged, archived); err != nil || len(updates) == 0 {
		return s.retry, err
	}
	return s.retry, s.write(ctx, s, updates)
}

// id returns Procore's id of a linked record, or 0 if it is not linked.
func (s *staging) id(r *tiebackv1.Record) int64 {
	for _, itemType := range s.linked {
		if id := s.links[itemType][r.OriginId]; id != 0 {
			return id
		}
	}
	return 0
}

// updateOf returns the update of a linked record, or nothing if there is no such update.
func (s *staging) updateOf(c *tiebackv1.Change, id int64) []bulk.Item {
	if s.update == nil || c.Deleted && s.retire == nil {
		return nil
	}
	update := s.update(c.Record)
	if c.Deleted {
		update = bulk.Fields("origin_id", c.Record.OriginId)
		for field, v := range s.retire {
			update[field] = v
		}
	}
	update["id"] = id
	return []bulk.Item{{Record: c.Record, Update: update}}
}

func (s *staging) stageItems(r *tiebackv1.Record) []bulk.Item {
	if s.blocked != nil {
		if why := s.blocked(s, r); why != "" {
			s.leaveOut(r, why)
			return nil
		}
	}
	itemType := s.itemTypes[0]
	if len(s.itemTypes) > 1 {
		if itemType = r.Kind; !slices.Contains(s.itemTypes, itemType) {
			s.addRefused([]bulk.Refusal{{Record: r, Why: "the ERP does not say whether it is a purchase order or a subcontract"}}, nil)
			return nil
		}
	}
	if s.lines != nil && len(r.Lines) == 0 && strings.Trim(r.Amount, "-0.") != "" {
		s.addRefused([]bulk.Refusal{{Record: r, Why: "it has an amount but no lines, and Procore takes amounts only from lines"}}, nil)
		return nil
	}
	item := bulk.Fields("item_type", itemType, "origin_id", r.OriginId, "origin_code", r.Code, "origin_data", r.OriginData, "status", "staged")
	item["data"] = s.data(r)
	if s.lines != nil {
		item["children"] = s.lines(r)
	}
	return []bulk.Item{{Record: r, Update: item}}
}

// archiveItems returns the items that hide a record from "Ready to import". A tombstone may not say which of
// two item types the record was staged under. Then both are archived; one of them never existed.
func (s *staging) archiveItems(r *tiebackv1.Record) []bulk.Item {
	types := s.itemTypes
	if slices.Contains(types, r.Kind) {
		types = []string{r.Kind}
	}
	var items []bulk.Item
	for _, itemType := range types {
		item := bulk.Fields("item_type", itemType, "origin_id", r.OriginId, "status", "archived")
		if place := bulk.Fields("project_origin_id", r.JobOriginId, "commitment_origin_id", s.commitment(r)); len(place) > 0 {
			item["data"] = place
		}
		items = append(items, bulk.Item{Record: r, Update: item})
	}
	return items
}

func (s *staging) commitment(r *tiebackv1.Record) string {
	if s.entity == changeOrder {
		return r.ContractOriginId
	}
	return ""
}

// writeStaged writes staged and archived items in one sync action. Procore refuses to archive only
// items that it does not offer for import, so a refusal is neither reported nor tried again.
func (s *staging) writeStaged(ctx context.Context, staged, archived []bulk.Item) error {
	answer, err := bulk.Write(ctx, s.task.Procore, procore.SyncCall{Route: procore.SyncStagedRecords}, slices.Concat(staged, archived))
	if err != nil {
		return err
	}
	var refused []bulk.Refusal
	for _, r := range answer.Refused {
		if !slices.ContainsFunc(archived, func(i bulk.Item) bool { return i.Record == r.Record }) {
			refused = append(refused, r)
		}
	}
	s.report.Staged += len(staged) - len(refused)
	for i, item := range archived {
		if answer.IDs[item.Record.OriginId] != 0 && (i == 0 || archived[i-1].Record != item.Record) {
			s.report.Archived++
		}
	}
	s.addRefused(refused, staged)
	return nil
}

// writeUpdates writes items with one sync action.
func (s *staging) writeUpdates(ctx context.Context, call procore.SyncCall, items []bulk.Item) error {
	answer, err := bulk.Write(ctx, s.task.Procore, call, items)
	if err != nil {
		return err
	}
	s.report.Updated += len(items) - len(answer.Refused)
	s.addRefused(answer.Refused, items)
	return nil
}

func (s *staging) addRefused(refused []bulk.Refusal, items []bulk.Item) {
	addRetries(s.retry, refused, items)
	s.report.Refused = append(s.report.Refused, refused...)
}

// addRetries adds the refused items to the set retry. A refusal that names no record adds all items.
func addRetries(retry map[string]bool, refused []bulk.Refusal, items []bulk.Item) {
	for _, r := range refused {
		if r.Record != nil {
			retry[r.Record.OriginId] = true
			continue
		}
		for _, i := range items {
			retry[i.Record.OriginId] = true
		}
	}
}

func (s *staging) leaveOut(r *tiebackv1.Record, why string) {
	s.retry[r.OriginId] = true
	s.report.LeftOut = append(s.report.LeftOut, bulk.Refusal{Record: r, Why: why})
}
