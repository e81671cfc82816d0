package links

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/state"
)

// record is what Procore's lists show of a record.
type record struct {
	origin  string // "": not synced
	silent  bool   // its answer has no origin_id: it says neither what the record's is nor that it has none
	project int64  // that it was listed in; 0: the company
	bare    bool   // its answer did not hold its lines
}

// reader reads the lists of one company, one after the other.
type reader struct {
	Options
	session Session
	known   map[state.Linked]state.Link
	found   map[state.Linked]record
	partial map[string]bool // item types of which some records may not have been seen
	done    map[visit]bool
	all     bool // also look below records that never were in the ERP
	unread  []Unread
	noLines []Unread

	hiddenProjects []int64
}

// visit is a list read at a place.
type visit struct {
	list, per string
	place
}

func newReader(session Session, o Options, known map[state.Linked]state.Link) *reader {
	return &reader{Options: o, session: session, known: known, found: map[state.Linked]record{}, partial: map[string]bool{}, done: map[visit]bool{}}
}

// readAll reads the table below all that is, or was, in the ERP. Of an item type of which a
// link was not found it then reads the rest: before a link counts as gone it was looked for everywhere.
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

// pass reads the table from top to bottom. Only what refuses nothing but its own list lets the rest go on.
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

// leadingTo says which lists show records of the item types, or of what those are listed below.
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

// places are where a list is to be read: in order, so that two rebuilds make the same calls.
func (r *reader) places(l list) []place {
	top := place{company: r.Company.ID, standards: r.Company.StandardCostCodeListID}
	if l.per == "" {
		return []place{top}
	}
	var out []place
	for key, rec := range r.found {
		if key.ItemType != l.per || !r.tied(key, rec) || l.instead && !rec.bare {
			continue
		}
		p := top
		p.parent, p.project = key.ItemID, cmp.Or(rec.project, key.ItemID)
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b place) int { return cmp.Compare(a.parent, b.parent) })
	return out
}

// tied says whether a record is, or was, in the ERP: only below such ones should there be links.
func (r *reader) tied(key state.Linked, rec record) bool {
	_, known := r.known[key]
	return known || rec.origin != "" || rec.silent || r.all
}

// read reads one list, once. That Procore refuses it is noted, and no error.
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
		u := Unread{List: l.route.Name, ItemType: l.itemType, Why: err.Error()}
		if l.per != "" {
			u.Of = fmt.Sprintf("%s %d", strings.ReplaceAll(l.per, "_", " "), p.parent)
		}
		r.unread = append(r.unread, u)
		r.miss(l)
	}
	return nil
}

// list reads a list to its end.
func (r *reader) list(ctx context.Context, l list, p place, call procore.Call) error {
	for item, err := range r.session.List(ctx, call) {
		if err == nil {
			err = r.take(l, p, item)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// take notes a record and the lines inside it.
func (r *reader) take(l list, p place, o map[string]any) error {
	key := state.Linked{ItemType: l.itemType, ItemID: procore.ID(o["id"])}
	if key.ItemID == 0 {
		return fault.New(fault.Permanent, fmt.Errorf("%s: an item has the id %v, which is none", l.route.Name, o["id"]))
	}
	rec := recordOf(o)
	rec.project = p.project
	if o["deleted_at"] != nil {
		rec.origin, rec.silent = "", false // the one that took its place may have it
	}
	if l.lines != nil {
		rec.bare = !r.takeLines(l, l.lines, o)
	}
	r.note(key, rec)
	r.tellSilent(l, key, rec)
	if rec.bare && r.tied(key, rec) && !slices.ContainsFunc(table, func(c list) bool { return c.instead && c.per == l.itemType }) {
		r.lineless(l)
	}
	return nil
}

func recordOf(o map[string]any) record {
	v, has := o["origin_id"]
	return record{origin: originID(v), silent: !has}
}

// note keeps a record. An answer without the origin id does not replace one that has it.
func (r *reader) note(key state.Linked, rec record) {
	if old, seen := r.found[key]; seen && rec.silent && !old.silent {
		old.bare = old.bare && rec.bare
		rec = old
	}
	r.found[key] = rec
}

// tellSilent notes, once a list, that its answers have no origin_id where there is a link.
func (r *reader) tellSilent(l list, key state.Linked, rec record) {
	if !rec.silent || r.known[key].OriginID == "" {
		return
	}
	u := Unread{List: l.route.Name, ItemType: key.ItemType, Why: "its answers do not have origin_id. Give the list's route a view that has it in the routes file (TIEBACK_PROCORE_ROUTES)"}
	if !slices.Contains(r.unread, u) {
		r.unread = append(r.unread, u)
	}
}

// lineless notes, once, that a list's answers don't hold lines that no other list shows.
func (r *reader) lineless(l list) {
	r.partial[l.lines.itemType] = true
	if !slices.ContainsFunc(r.noLines, func(u Unread) bool { return u.List == l.route.Name }) {
		r.noLines = append(r.noLines, Unread{List: l.route.Name, ItemType: l.lines.itemType, Why: "its answers do not hold " + l.lines.key})
	}
}

// takeLines says whether the record held its lines.
func (r *reader) takeLines(l list, in *lines, o map[string]any) bool {
	items, held := o[in.key].([]any)
	for _, v := range items {
		line, _ := v.(map[string]any)
		if id := procore.ID(line["id"]); id != 0 {
			key, rec := state.Linked{ItemType: in.itemType, ItemID: id}, recordOf(line)
			r.note(key, rec)
			r.tellSilent(l, key, rec)
		}
		if in.below != nil {
			r.takeLines(l, in.below, line)
		}
	}
	return held
}

// miss notes that a list was not read to its end, and so neither what it leads to.
func (r *reader) miss(l list) {
	r.partial[l.itemType] = true
	if l.lines != nil {
		r.partial[l.lines.itemType] = true
	}
	for _, below := range table {
		if below.per == l.itemType {
			r.miss(below)
		}
	}
}

// whole says whether every record of an item type that has a link was seen. Of markups that
// is never sure: an answer without them need not say so.
func (r *reader) whole(itemType string) bool {
	return !r.partial[itemType] && slices.ContainsFunc(table, func(l list) bool { return l.itemType == itemType })
}

// originID reads an origin id; the string "null" is one more way of Procore's to say none.
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
