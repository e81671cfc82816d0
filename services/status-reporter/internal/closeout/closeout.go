// Package closeout tells Procore how events ended. It sits under the status-reporter's
// internal folder so that no other service can make these calls.
//
// Many events' close-outs go out together, step by step, so that success is never told
// before what it promises is true:
//
//	status management → external data → assignments → budget transactions → (links persisted) → request details
//
// Status management comes first, as external data stands in for it where Procore has no such route, and as the lines of
// a record are unlinked only after the record itself.
//
// A close-out that a step refuses becomes failed, with the reason, and goes on to the last
// step. A step that could not be made at all holds back the events that needed it; all of
// it may be made again.
package closeout

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Item is an outcome to be told.
type Item struct {
	Outcome *tiebackv1.Outcome
	Repeat  bool // it came before, or another run of it: part of it may have been told already
	// Later is one whose request details may have had another end: of a further run, of one that
	// came too late, of an event that was given up and may have been replayed already. Procore
	// keeps the first end.
	Later bool
}

// unit is one close-out on its way through the steps.
type unit struct {
	*tiebackv1.CloseOut
	event  int // index of its outcome
	repeat bool
	later  bool
	err    error // it could not be told: the event must come again, or be given up

	asked []asked

	gone []*tiebackv1.Mark // marks as not synced of what Procore no longer has: there is nothing left to do
}

// refuse turns the close-out into a failed one.
func (u *unit) refuse(why string) {
	if u.Status != tiebackv1.Status_STATUS_FAILED {
		u.Status, u.Messages = tiebackv1.Status_STATUS_FAILED, nil
	}
	u.Messages = append(u.Messages, why)
}

// Result is what became of an item.
type Result struct {
	// Reported is the item's outcome as it was reported to Procore: close-outs that Procore refused are failed, and
	// marks that it refused are left out. It is complete only if Err is nil.
	Reported *tiebackv1.Outcome
	// Err is nil where all of the outcome was reported. A permanent error is one of a single close-out: the rest of
	// the outcome was reported.
	Err error
}

// LinkStore persists the links that item i's marks and unlinks have changed in Procore. It is called with the outcome
// as it is about to be reported, before its request details are: the user's next click may refer to the links.
type LinkStore func(ctx context.Context, i int, reported *tiebackv1.Outcome) error

// retry waits out the short window of Procore's rate limit: ten seconds, and what a clock may be off. A call gives up after
// 20 such waits, in case the limit never lets it through.
var retry = procore.Retry{Limits: 20, LongestLimit: 15 * time.Second}

// Flush reports a company's outcomes to Procore in as few calls as possible. It returns one result an item and leaves
// the items as they are. It waits out a short wait for the rate limit: otherwise the calls that were made already
// would be made again, and use up the next window as well.
func Flush(ctx context.Context, session *procore.Session, items []Item, store LinkStore) []Result {
	s := session.Retrying(retry)
	var units []*unit
	results := make([]Result, len(items))
	for i, it := range items {
		results[i].Reported = proto.CloneOf(it.Outcome)
		for _, c := range results[i].Reported.CloseOuts {
			units = append(units, &unit{CloseOut: c, event: i, repeat: it.Repeat, later: it.Later})
		}
	}
	for _, step := range []func(context.Context, *procore.Session, []*unit){unlinks, externalData, assignments, transactions} {
		step(ctx, s, held(units))
	}
	learnRoutes(s, units)
	persistLinks(ctx, results, held(units), store)
	requestDetails(ctx, s, held(units))
	for _, u := range units {
		if r := &results[u.event]; u.err != nil && (r.Err == nil || fault.ClassOf(r.Err) == fault.Permanent) {
			r.Err = u.err // a transient error outweighs a permanent one
		}
	}
	return results
}

// held leaves out the units of events that are held back by an earlier step, to come again. What
// Procore refused for good holds nothing back: the rest of its event is true all the same.
func held(units []*unit) []*unit {
	back := map[int]bool{}
	for _, u := range units {
		back[u.event] = back[u.event] || u.err != nil && fault.ClassOf(u.err) != fault.Permanent
	}
	return slices.DeleteFunc(slices.Clone(units), func(u *unit) bool { return back[u.event] })
}

// persistLinks persists the outcomes' links, all at once, so that the writes share their commits.
func persistLinks(ctx context.Context, results []Result, units []*unit, store LinkStore) {
	byEvent := map[int][]*unit{}
	for _, u := range units {
		byEvent[u.event] = append(byEvent[u.event], u)
	}
	var all sync.WaitGroup
	for i, own := range byEvent {
		all.Go(func() {
			if err := store(ctx, i, results[i].Reported); err != nil {
				for _, u := range own {
					u.err = err
				}
			}
		})
	}
	all.Wait()
}

// batch is a sync action made of the updates of many units.
type batch struct {
	call  procore.SyncCall
	items []item
}

// item is one update, whose it is, and what names it in an answer.
type item struct {
	unit   *unit
	update map[string]any
	names  []string // fields that identify it among the refused
	record string   // for the accountant
	mark   *tiebackv1.Mark
}

// run makes the action and hands each refusal to its unit. What makes Procore refuse a whole call is refused alone,
// see procore.Session.Sync, so that one event's nonsense harms no other.
func (b batch) run(ctx context.Context, s *procore.Session) {
	if len(b.items) == 0 {
		return
	}
	for _, it := range b.items {
		b.call.Updates = append(b.call.Updates, it.update)
	}
	result, err := s.Sync(ctx, b.call)
	if err == nil {
		b.refuse(ctx, s, result.Refused)
		return
	}
	for _, it := range b.items {
		if fault.ClassOf(err) != fault.Permanent {
			it.unit.err = err
			continue
		}
		it.drop()
		it.unit.refuse(fault.UserMessage(err, "Procore refused to mark "+it.record+" as synced."))
		if it.unit.RequestDetailId == 0 {
			it.unit.err = err
		}
	}
}

// runHalves makes the action in two; false: it is one unit's alone.
func (b batch) runHalves(ctx context.Context, s *procore.Session) bool {
	left, right := b.halves()
	if left.items == nil || right.items == nil {
		return false
	}
	left.run(ctx, s)
	right.run(ctx, s)
	return true
}

// halves parts the batch between two units; one half is empty where there is one unit only.
func (b batch) halves() (left, right batch) {
	left.call, right.call = b.call, b.call
	left.call.Updates, right.call.Updates = nil, nil
	cut := len(b.items) / 2
	for cut > 0 && cut < len(b.items) && b.items[cut].unit == b.items[cut-1].unit {
		cut++
	}
	if cut == len(b.items) {
		for cut = len(b.items) / 2; cut > 0 && b.items[cut].unit == b.items[cut-1].unit; cut-- {
		}
	}
	if cut > 0 {
		left.items = b.items[:cut]
	}
	if cut < len(b.items) {
		right.items = b.items[cut:]
	}
	return left, right
}

// refuse matches what Procore echoes of each refused item to the items sent. Where an echo tells
// nobody whose it is, the action is made again in halves, until it is one unit's alone.
func (b batch) refuse(ctx context.Context, s *procore.Session, refused []procore.ItemError) {
	whose := make([][]item, len(refused))
	for i, r := range refused {
		for _, it := range b.items {
			if it.is(r.Item) {
				whose[i] = append(whose[i], it)
			}
		}
		if whose[i] == nil && b.runHalves(ctx, s) {
			return
		}
	}
	for i, r := range refused {
		for _, it := range whose[i] {
			it.refuse(r.Why)
		}
		if whose[i] == nil { // nobody knows which of the unit's: none counts as taken
			for _, it := range b.items {
				it.drop()
			}
			b.items[0].unit.reject(cmp.Or(b.items[0].unit.Record, b.items[0].record), r.Why)
		}
	}
}

// refuse has the unit fail with a refused item, unless there is nothing left to do.
func (it item) refuse(why string) {
	switch missing := notFound(why); {
	case missing && it.mark != nil && it.mark.OriginId == "":
		it.unit.gone = append(it.unit.gone, it.mark)
	case missing:
		it.drop()
		it.unit.fail(fmt.Sprintf("Your ERP system has booked this, but %s no longer exists in Procore. Delete it in your ERP system as well, or correct it there.", it.record))
	default:
		it.drop()
		it.unit.reject(it.record, why)
	}
}

// notFound reports whether a refusal says that Procore doesn't have the record. Its words are not documented; these
// are what has been seen.
func notFound(why string) bool {
	why = strings.ToLower(why)
	return slices.ContainsFunc([]string{"could not be found", "couldn't be found", "can't be found", "not found", "does not exist", "no longer exists"},
		func(words string) bool { return strings.Contains(why, words) })
}

// drop takes a refused mark out of its close-out: it is not true, so that no link is learned from it.
func (it item) drop() {
	it.unit.Marks = slices.DeleteFunc(it.unit.Marks, func(m *tiebackv1.Mark) bool { return m == it.mark })
}

func (it item) is(echo map[string]any) bool {
	for _, n := range it.names {
		if fmt.Sprint(echo[n]) != fmt.Sprint(it.update[n]) {
			return false
		}
	}
	return true
}

// reject fails the close-out because Procore would not take a mark.
func (u *unit) reject(record, why string) {
	u.fail(fmt.Sprintf("Your ERP system has done its part, but Procore refused to update %s: %s.", record, strings.TrimSuffix(why, ".")))
}

// fail fails the close-out. An event that carries no request detail has nobody to tell, so that it becomes a dead letter.
func (u *unit) fail(sentence string) {
	u.refuse(sentence)
	if u.RequestDetailId == 0 {
		u.err = &fault.Error{Class: fault.Permanent, UserMessage: sentence}
	}
}

func externalData(ctx context.Context, s *procore.Session, units []*unit) {
	b := batch{call: procore.SyncCall{Route: syncExternalData}}
	for _, u := range units {
		for _, m := range u.Marks {
			b.items = append(b.items, item{unit: u, mark: m, update: markUpdate(m), names: []string{"item_type", "item_id"}, record: recordName(u, m.ItemType)})
		}
	}
	b.run(ctx, s)
}

func markUpdate(m *tiebackv1.Mark) map[string]any {
	up := map[string]any{"item_type": m.ItemType, "item_id": m.ItemId, "origin_id": nil}
	if m.OriginId != "" {
		up["origin_id"] = m.OriginId
	}
	if m.OriginCode != "" {
		up["origin_code"] = m.OriginCode
	}
	if m.OriginData != "" {
		up["origin_data"] = m.OriginData
	}
	return up
}

// recordName is the record as an accountant knows it, or at least what kind it is.
func recordName(u *unit, itemType string) string {
	kind := strings.ReplaceAll(itemType, "_", " ")
	if u.Record == "" {
		return "a " + kind
	}
	return fmt.Sprintf("%s (%s)", u.Record, kind)
}

func assignments(ctx context.Context, s *procore.Session, units []*unit) {
	type place struct{ project, subJob int64 }
	batches := map[place]batch{}
	for _, u := range units {
		if u.Status != tiebackv1.Status_STATUS_SUCCESS {
			continue
		}
		for _, a := range u.Assignments {
			at := place{a.ProjectId, a.SubJobId}
			b := batches[at]
			b.call = procore.SyncCall{Route: syncAssignments, Query: procore.Query("project_id", a.ProjectId, "sub_job_id", a.SubJobId)}
			b.items = append(b.items, item{unit: u, names: []string{"cost_code_id", "line_item_type_id"}, record: recordName(u, "cost_type"),
				update: map[string]any{"cost_code_id": a.CostCodeId, "line_item_type_id": a.LineItemTypeId, "synced": true}})
			batches[at] = b
		}
	}
	for _, b := range batches {
		b.run(ctx, s)
	}
}

func transactions(ctx context.Context, s *procore.Session, units []*unit) {
	batches := map[int64]batch{}
	for _, u := range units {
		if u.Status != tiebackv1.Status_STATUS_SUCCESS {
			continue
		}
		for _, t := range u.BudgetTransactions {
			b := batches[t.ProjectId]
			b.call = procore.SyncCall{Route: syncTransactions, Envelope: map[string]any{"project_id": t.ProjectId}}
			b.items = append(b.items, item{unit: u, names: []string{"id"}, record: recordName(u, "budget_change"),
				update: map[string]any{"id": t.Id, "origin_id": t.OriginId, "synced": true}})
			batches[t.ProjectId] = b
		}
	}
	for _, b := range batches {
		b.run(ctx, s)
	}
}
