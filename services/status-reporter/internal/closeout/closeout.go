// Package closeout reports the outcomes of events to Procore. It is internal to the status-reporter, so that no other
// service can make these calls.
//
// It reports the close-outs of many events together, step by step, so that success is never reported before it is true:
//
//	unlinks → external data → assignments → budget transactions → (links persisted) → request details
//
// Unlinks (Procore's status management API) come first, because an update of external data replaces them if Procore
// lacks the route, and because the lines of a record are unlinked only after the record itself.
//
// A close-out that Procore refuses in one step becomes failed, with the reason, and continues with the last step. If a
// step fails for any other reason, the events concerned go no further and are retried; every step can safely be
// repeated.
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

// Item is an outcome to report.
type Item struct {
	Outcome     *tiebackv1.Outcome
	Redelivered bool // part of it may have been reported before, by an earlier delivery or another run
	// Later is true if the request details may have a final status already: the outcome is of a further run, of a run
	// that was late, or of a dead letter that may have been replayed. Procore keeps the first final status.
	Later bool
}

// unit is a close-out that passes through the steps.
type unit struct {
	*tiebackv1.CloseOut
	event       int // index of its outcome in items and results
	redelivered bool
	later       bool
	err         error // it could not be reported: the event is retried, or becomes a dead letter

	substitutes []substitute

	// gone are unmarks (an empty origin id) that Procore refused because the record no longer exists; they count as done.
	gone []*tiebackv1.Mark
}

// refuse turns the close-out into a failed one.
func (u *unit) refuse(why string) {
	if u.Status != tiebackv1.Status_STATUS_FAILED {
		u.Status, u.Messages = tiebackv1.Status_STATUS_FAILED, nil
	}
	u.Messages = append(u.Messages, why)
}

// Result is the result of an item.
type Result struct {
	// Reported is the item's outcome as it was reported to Procore: close-outs that Procore refused are failed, and
	// marks that it refused are left out. It is complete only if Err is nil.
	Reported *tiebackv1.Outcome
	// Err is nil if the whole outcome was reported. A permanent error concerns a single close-out; the rest of the
	// outcome was reported.
	Err error
}

// LinkStore persists the links that item i's marks and unlinks have changed in Procore. It is called just
// before the request details are reported, because the user's next click may depend on the links. reported is the
// outcome as it is about to be reported.
type LinkStore func(ctx context.Context, i int, reported *tiebackv1.Outcome) error

// retry waits out the short window of Procore's rate limit, which lasts ten seconds, and allows for clock skew. A call
// gives up after 20 such waits.
var retry = procore.Retry{Limits: 20, LongestLimit: 15 * time.Second}

// Report reports a company's outcomes to Procore in as few calls as possible. It returns one result for each item and
// does not change the items. It waits out short rate limits: if it returned instead, the calls already made would be
// repeated and use up the next window too.
func Report(ctx context.Context, session *procore.Session, items []Item, store LinkStore) []Result {
	s := session.Retrying(retry)
	var units []*unit
	results := make([]Result, len(items))
	for i, it := range items {
		results[i].Reported = proto.CloneOf(it.Outcome)
		for _, c := range results[i].Reported.CloseOuts {
			units = append(units, &unit{CloseOut: c, event: i, redelivered: it.Redelivered, later: it.Later})
		}
	}
	for _, step := range []func(context.Context, *procore.Session, []*unit){unlinks, externalData, assignments, transactions} {
		step(ctx, s, reportable(units))
	}
	learnRoutes(s, units)
	persistLinks(ctx, results, reportable(units), store)
	requestDetails(ctx, s, reportable(units))
	for _, u := range units {
		if r := &results[u.event]; u.err != nil && (r.Err == nil || fault.ClassOf(r.Err) == fault.Permanent) {
			r.Err = u.err // a transient error outweighs a permanent one
		}
	}
	return results
}

// reportable returns the units whose event has no error that will be retried. A permanent refusal does not stop the rest
// of its event.
func reportable(units []*unit) []*unit {
	retried := map[int]bool{}
	for _, u := range units {
		retried[u.event] = retried[u.event] || u.err != nil && fault.ClassOf(u.err) != fault.Permanent
	}
	return slices.DeleteFunc(slices.Clone(units), func(u *unit) bool { return retried[u.event] })
}

// persistLinks persists the outcomes' links concurrently, so that the writes share commits.
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

// item is one update, its unit, and the fields that identify it in an answer.
type item struct {
	unit   *unit
	update map[string]any
	names  []string // fields that identify it in a refusal
	record string   // for the accountant
	mark   *tiebackv1.Mark
}

// run makes the call and passes each refusal to its unit. If one item makes Procore refuse the whole call,
// procore.Session.Sync finds that item, so that it does not affect other events.
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

// runHalves makes the call in two halves. It returns false if all items belong to one unit.
func (b batch) runHalves(ctx context.Context, s *procore.Session) bool {
	left, right := b.halves()
	if left.items == nil || right.items == nil {
		return false
	}
	left.run(ctx, s)
	right.run(ctx, s)
	return true
}

// halves splits the batch near its middle, at a boundary between units. One half is empty if there is only one unit.
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

// refuse matches the refused items in Procore's answer to the items sent. If one can't be matched, the call is repeated
// in halves, until it has the items of one unit only.
func (b batch) refuse(ctx context.Context, s *procore.Session, refused []procore.ItemError) {
	matches := make([][]item, len(refused))
	for i, r := range refused {
		for _, it := range b.items {
			if it.is(r.Item) {
				matches[i] = append(matches[i], it)
			}
		}
		if matches[i] == nil && b.runHalves(ctx, s) {
			return
		}
	}
	for i, r := range refused {
		for _, it := range matches[i] {
			it.refuse(r.Why)
		}
		if matches[i] == nil {
			// Procore refused one of the unit's items, but which one is unknown, so none counts as accepted.
			for _, it := range b.items {
				it.drop()
			}
			b.items[0].unit.reject(cmp.Or(b.items[0].unit.Record, b.items[0].record), r.Why)
		}
	}
}

// refuse fails the unit because of a refused item, unless nothing is left to do.
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

// notFound reports whether a refusal says that Procore does not have the record. The text is not documented; these
// are the ones observed.
func notFound(why string) bool {
	why = strings.ToLower(why)
	return slices.ContainsFunc([]string{"could not be found", "couldn't be found", "can't be found", "not found", "does not exist", "no longer exists"},
		func(words string) bool { return strings.Contains(why, words) })
}

// drop removes a refused mark from its close-out, so that no link is stored for it.
func (it item) drop() {
	it.unit.Marks = slices.DeleteFunc(it.unit.Marks, func(m *tiebackv1.Mark) bool { return m == it.mark })
}

// is reports whether an item of Procore's answer is this one.
func (it item) is(echo map[string]any) bool {
	for _, n := range it.names {
		if fmt.Sprint(echo[n]) != fmt.Sprint(it.update[n]) {
			return false
		}
	}
	return true
}

// reject fails the close-out because Procore refused an update.
func (u *unit) reject(record, why string) {
	u.fail(fmt.Sprintf("Your ERP system has done its part, but Procore refused to update %s: %s.", record, strings.TrimSuffix(why, ".")))
}

// fail fails the close-out. Without a request detail there is nowhere to report it, so its event becomes a dead letter.
func (u *unit) fail(message string) {
	u.refuse(message)
	if u.RequestDetailId == 0 {
		u.err = &fault.Error{Class: fault.Permanent, UserMessage: message}
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

// recordName returns the record's name for messages, with its kind; without a name, only the kind.
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
