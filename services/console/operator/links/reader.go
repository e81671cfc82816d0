package links

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/state"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// record is what Procore's lists show of a record.
type record struct {
	origin  string // "": none
	silent  bool   // the answer has no key origin_id, so it is not known whether the record has one
	project int64  // in which it was listed; 0: the company
	bare    bool   // the answer lacks its lines
}

// reader reads the lists of one company, one at a time.
type reader struct {
	Options
	session Session
	known   map[state.Linked]state.Link
	found   map[state.Linked]record
	partial map[string]bool // item types of which some records may not have been seen
	done    map[visit]bool
	all     bool // also read the lists of records that were never in the ERP
	unread  []*operatorv1.UnreadList
	noLines []*operatorv1.UnreadList

	hiddenProjects []int64
}

// visit identifies a list that was read.
type visit struct {
	list, per string
	place
}

func newReader(session Session, o Options, known map[state.Linked]state.Link) *reader {
	return &reader{Options: o, session: session, known: known, found: map[state.Linked]record{}, partial: map[string]bool{}, done: map[visit]bool{}}
}

// readAll reads the lists of all records that are, or were, in the ERP. For an item type with a stored link that was not
// found, it then reads the lists of the other records too, so that a link is reported as gone only after all lists were
// read.
func (r *reader) readAll(ctx context.Context) error {
	if err := r.pass(ctx, func(list) bool { return true }); err != nil {
		return err
	}
	missing := map[string]bool{}
	for key, known := range r.known {
		if _, seen := r.found[key]; !seen && known.OriginID != "" && r.whole(key.ItemType) {
			missing[key.ItemType] = true
		}
	}
	r.all = true
	err := r.pass(ctx, leadingTo(missing))
	r.hidden()
	return err
}

// hidden notes the linked projects that the list, read to its end, does not show.
func (r *reader) hidden() {
	for key, known := range r.known {
		if _, seen := r.found[key]; key.ItemType == "project" && known.OriginID != "" && !seen && r.whole("project") {
			r.hiddenProjects = append(r.hiddenProjects, key.ItemID)
		}
	}
	slices.Sort(r.hiddenProjects)
}

// pass reads the wanted lists of the table in order. A list that Procore refuses does not end the pass.
func (r *reader) pass(ctx context.Context, wanted func(list) bool) error {
	for _, l := range table {
		if !wanted(l) {
			continue
		}
		for _, p := range r.places(l) {
			if err := r.read(ctx, l, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// leadingTo reports which lists show records of the item types, or their parents.
func leadingTo(itemTypes map[string]bool) func(list) bool {
	shows := func(l list) bool {
		return itemTypes[l.itemType] || l.lines != nil && itemTypes[l.lines.itemType]
	}
	for _, l := range slices.Backward(table) {
		if shows(l) && l.per != "" {
			itemTypes[l.per] = true
		}
	}
	return shows
}

// places returns the places at which to read a list, in order of the ids, so that two rebuilds make the same calls.
func (r *reader) places(l list) []place {
	top := place{company: r.Company.ID, standards: r.Company.StandardCostCodeListID}
	if l.per == "" {
		return []place{top}
	}
	var out []place
	for key, rec := range r.found {
		if key.ItemType != l.per || !r.linkable(key, rec) || l.instead && !rec.bare {
			continue
		}
		p := top
		p.parent, p.project = key.ItemID, cmp.Or(rec.project, key.ItemID)
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b place) int { return cmp.Compare(a.parent, b.parent) })
	return out
}

// linkable reports whether a record is or was in the ERP, so that there may be links below it.
func (r *reader) linkable(key state.Linked, rec record) bool {
	_, known := r.known[key]
	return known || rec.origin != "" || rec.silent || r.all
}

// read reads one list, once. If Procore refuses the list, it is added to unread, without an error.
func (r *reader) read(ctx context.Context, l list, p place) error {
	v := visit{l.route.Name, l.per, p}
	if r.done[v] {
		return nil
	}
	r.done[v] = true
	call, err := l.call(p)
	if err == nil {
		err = r.list(ctx, l, p, call)
		if err != nil && (ctx.Err() != nil || fault.ClassOf(err) != fault.Permanent) {
			return err
		}
	}
	if err != nil {
		u := &operatorv1.UnreadList{List: l.route.Name, ItemType: l.itemType, Why: err.Error()}
		if l.per != "" {
			u.Of = fmt.Sprintf("%s %d", strings.ReplaceAll(l.per, "_", " "), p.parent)
		}
		r.unread = append(r.unread, u)
		r.skipped(l)
	}
	return nil
}

// list reads a list to its end.
func (r *reader) list(ctx context.Context, l list, p place, call procore.Call) error {
	for item, err := range r.session.List(ctx, call) {
		if err == nil {
			err = r.add(l, p, item)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// add adds a record and the lines inside it.
func (r *reader) add(l list, p place, o map[string]any) error {
	key := state.Linked{ItemType: l.itemType, ItemID: procore.ID(o["id"])}
	if key.ItemID == 0 {
		return fault.New(fault.Permanent, fmt.Errorf("%s: an item has an invalid id: %v", l.route.Name, o["id"]))
	}
	rec := recordOf(o)
	rec.project = p.project
	if o["deleted_at"] != nil {
		rec.origin, rec.silent = "", false // its successor may have it
	}
	if l.lines != nil {
		rec.bare = !r.addLines(l, l.lines, o)
	}
	r.addRecord(key, rec)
	r.checkSilent(l, key, rec)
	if rec.bare && r.linkable(key, rec) && !slices.ContainsFunc(table, func(c list) bool { return c.instead && c.per == l.itemType }) {
		r.addWithoutLines(l)
	}
	return nil
}

func recordOf(o map[string]any) record {
	v, has := o["origin_id"]
	return record{origin: originID(v), silent: !has}
}

// addRecord adds a record. An answer without origin_id does not replace one that has it.
func (r *reader) addRecord(key state.Linked, rec record) {
	if old, seen := r.found[key]; seen && rec.silent && !old.silent {
		old.bare = old.bare && rec.bare
		rec = old
	}
	r.found[key] = rec
}

// checkSilent adds a list to unread if an answer lacks origin_id for a record with a stored link.
func (r *reader) checkSilent(l list, key state.Linked, rec record) {
	if !rec.silent || r.known[key].OriginID == "" {
		return
	}
	u := &operatorv1.UnreadList{List: l.route.Name, ItemType: key.ItemType, Why: "its answers lack origin_id. Give the list's route a view that has it in the routes file (TIEBACK_PROCORE_ROUTES)"}
	if !slices.ContainsFunc(r.unread, func(v *operatorv1.UnreadList) bool { return proto.Equal(u, v) }) {
		r.unread = append(r.unread, u)
	}
}

// addWithoutLines adds a list, once, to those whose answers lack lines that no other list shows.
func (r *reader) addWithoutLines(l list) {
	r.partial[l.lines.itemType] = true
	if !slices.ContainsFunc(r.noLines, func(u *operatorv1.UnreadList) bool { return u.List == l.route.Name }) {
		r.noLines = append(r.noLines, &operatorv1.UnreadList{List: l.route.Name, ItemType: l.lines.itemType, Why: "its answers lack " + l.lines.key})
	}
}

// addLines adds the lines inside a record. It reports whether the answer has them.
func (r *reader) addLines(l list, in *lines, o map[string]any) bool {
	items, present := o[in.key].([]any)
	for _, v := range items {
		line, _ := v.(map[string]any)
		if id := procore.ID(line["id"]); id != 0 {
			key, rec := state.Linked{ItemType: in.itemType, ItemID: id}, recordOf(line)
			r.addRecord(key, rec)
			r.checkSilent(l, key, rec)
		}
		if in.below != nil {
			r.addLines(l, in.below, line)
		}
	}
	return present
}

// skipped marks the item types of a list that was not read to its end, and of the lists below it, as partial.
func (r *reader) skipped(l list) {
	r.partial[l.itemType] = true
	if l.lines != nil {
		r.partial[l.lines.itemType] = true
	}
	for _, below := range table {
		if below.per == l.itemType {
			r.skipped(below)
		}
	}
}

// whole reports whether all records of an item type were seen. Markups may be missing from an answer without a sign of it.
func (r *reader) whole(itemType string) bool {
	return !r.partial[itemType] && slices.ContainsFunc(table, func(l list) bool { return l.itemType == itemType })
}

// originID reads an origin id. Procore sends null, or the string "null", for none.
func originID(v any) string {
	switch v := v.(type) {
	case json.Number:
		return v.String()
	case string:
		if v != "null" {
			return v
		}
	}
	return ""
}
