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

// kind is how the records of an entity get into Procore: a new one waits in "Ready to
// import" as a staged record, one that Procore has is updated directly. Never the other way
// round.
//
//	the ERP's record      Procore has it (linked)   Procore has it not
//	active                updated                   staged
//	inactive              updated                   archived
//	deleted               retired                   archived
//
// What was never staged, since this is the first sync, is not archived either. A record
// that came from Procore (it has a Procore id) is not staged while it is not linked:
// its export is still under way, or the user has unlinked it and can export or link it.
type kind struct {
	entity    tiebackv1.Entity
	itemTypes []string // as Procore stages it: one, or two where the record's kind decides
	linked    []string // the item types under which Procore has it
	data      func(*tiebackv1.Record) map[string]any
	lines     func(*tiebackv1.Record) []map[string]any           // nil: has none
	update    func(*tiebackv1.Record) map[string]any             // nil: what Procore has is left alone
	retire    map[string]any                                     // what a deleted one's update says; nil: nothing
	write     func(context.Context, *staging, []bulk.Item) error // writes updates
	calls     func(*staging) func([]*tiebackv1.Change) int       // see feed
	limit     int32                                              // see feed
	restage   bool                                               // may be imported again
	misses    func(*staging, *tiebackv1.Record) string           // why it can't be synced yet; nil: it can
	needs     []string                                           // further item types whose links misses and write ask for
}

// staging is one sync of a kind.
type staging struct {
	kind
	task   *worker.Task
	links  map[string]map[string]int64 // by item type and origin id
	report *bulk.Report
	again  map[string]bool // of the batch at work: to be tried again
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

// writeBatch sorts a batch's records into calls, makes them and says which to try again.
func (s *staging) writeBatch(ctx context.Context, b batch) (map[string]bool, error) {
	s.again = map[string]bool{}
	var staged, archived, updates []bulk.Item
	for _, c := range b.changes {
		id := s.id(c.Record)
		switch {
		case id != 0 && !s.restage:
			updates = append(updates, s.direct(c, id)...)
		case c.Deleted || c.Record.Inactive:
			if !b.first && id == 0 {
				archived = append(archived, s.archive(c.Record)...)
			}
		case c.Record.ProcoreId == 0 || s.restage:
			staged = append(staged, s.stage(c.Record)...)
		}
	}
	if err := s.writeStaged(ctx, staged, archived); err != nil || len(updates) == 0 {
		return s.again, err
	}
	return s.again, s.write(ctx, s, updates)
}

// id is Procore's id of a linked record; 0: not linked.
func (s *staging) id(r *tiebackv1.Record) int64 {
	for _, itemType := range s.linked {
		if id := s.links[itemType][r.OriginId]; id != 0 {
			return id
		}
	}
	return 0
}

// direct is the update of a record that Procore has; none where it takes none.
func (s *staging) direct(c *tiebackv1.Change, id int64) []bulk.Item {
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

func (s *staging) stage(r *tiebackv1.Record) []bulk.Item {
	if s.misses != nil {
		if why := s.misses(s, r); why != "" {
			s.leaveOut(r, why)
			return nil
		}
	}
	itemType := s.itemTypes[0]
	if len(s.itemTypes) > 1 {
		if itemType = r.Kind; !slices.Contains(s.itemTypes, itemType) {
			s.refused([]bulk.Refusal{{Record: r, Why: "the ERP does not say whether it is a purchase order or a subcontract"}}, nil)
			return nil
		}
	}
	if s.lines != nil && len(r.Lines) == 0 && strings.Trim(r.Amount, "-0.") != "" {
		s.refused([]bulk.Refusal{{Record: r, Why: "it has an amount but no lines, and Procore takes the amounts of lines only"}}, nil)
		return nil
	}
	item := bulk.Fields("item_type", itemType, "origin_id", r.OriginId, "origin_code", r.Code, "origin_data", r.OriginData, "status", "staged")
	item["data"] = s.data(r)
	if s.lines != nil {
		item["children"] = s.lines(r)
	}
	return []bulk.Item{{Record: r, Update: item}}
}

// archive hides a record from "Ready to import". A tombstone may not say which of two
// item types it was staged as: then both are hidden, of which one never was there.
func (s *staging) archive(r *tiebackv1.Record) []bulk.Item {
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

// writeStaged writes both in one go. What Procore won't archive is nothing that it offers
// for import, so there is nothing to tell and nothing to try again.
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
	s.refused(refused, staged)
	return nil
}

// updated writes items with one sync action.
func (s *staging) updated(ctx context.Context, call procore.SyncCall, items []bulk.Item) error {
	answer, err := bulk.Write(ctx, s.task.Procore, call, items)
	if err != nil {
		return err
	}
	s.report.Updated += len(items) - len(answer.Refused)
	s.refused(answer.Refused, items)
	return nil
}

func (s *staging) refused(refused []bulk.Refusal, items []bulk.Item) {
	tryAgain(s.again, refused, items)
	s.report.Refused = append(s.report.Refused, refused...)
}

// tryAgain notes the refused items; a refusal that fits none of them puts all on trial again.
func tryAgain(again map[string]bool, refused []bulk.Refusal, items []bulk.Item) {
	for _, r := range refused {
		if r.Record != nil {
			again[r.Record.OriginId] = true
			continue
		}
		for _, i := range items {
			again[i.Record.OriginId] = true
		}
	}
}

func (s *staging) leaveOut(r *tiebackv1.Record, why string) {
	s.again[r.OriginId] = true
	s.report.LeftOut = append(s.report.LeftOut, bulk.Refusal{Record: r, Why: why})
}
