// Package closeout reports the outcomes of events to Procore. It is internal to the status-reporter, so that no other
// service can make these calls.
//
// It reports the close-outs of many events together, in steps. Success is reported in the last step, after everything that it
// depends on:
//
//	unlinks → external data → assignments → budget transactions → (links stored) → request details
//
// An unlink is a call to Procore's status management. Unlinks come first for two reasons: if Procore lacks the route, an update
// of external data replaces the unlink; and the lines of a record, whose marks are removed by external data, may be unlinked
// only after the record.
//
// If Procore refuses an update, its close-out becomes failed, with the reason, and the last step reports the failure. If a step
// fails for any other reason, it and the later steps are retried for the events concerned; every step may be repeated.
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
	// MayBeFinal is true if the request details may already have another final status, which Procore keeps. This
	// happens if the outcome is of a further run, is late, or is of a dead letter that may have been replayed.
	MayBeFinal bool
}

// unit is a close-out that passes through the steps.
type unit struct {
	*tiebackv1.CloseOut
	event       int // index of its outcome in items and results
	redelivered bool
	mayBeFinal  bool
	err         error // why it could not be reported; the event is retried or, if the error is permanent, becomes a dead letter

	substitutes []substitute

	// gone are marks without an origin id that Procore refused because the record no longer exists. They count as made.
	gone []*tiebackv1.Mark
}

// fail makes the close-out failed, with a message for the accountant. Without a request detail there is nowhere to report the
// message, so the event becomes a dead letter, with cause as its error. cause may be nil.
func (u *unit) fail(message string, cause error) {
	if u.Status != tiebackv1.Status_STATUS_FAILED {
		u.Status, u.Messages = tiebackv1.Status_STATUS_FAILED, nil
	}
	u.Messages = append(u.Messages, message)
	if u.RequestDetailId == 0 {
		u.err = cmp.Or[error](cause, &fault.Error{Class: fault.Permanent, UserMessage: message})
	}
}

// failUpdate is fail for an update of a record that Procore refused.
func (u *unit) failUpdate(record, why string) {
	u.fail(fmt.Sprintf("Your ERP system has done its part, but Procore refused to update %s: %s.", record, strings.TrimSuffix(why, ".")), nil)
}

// Result is the result of an item.
type Result struct {
	// Reported is the item's outcome as it was reported to Procore: close-outs that Procore refused are failed, and
	// marks that it refused are left out. It is complete only if Err is nil.
	Reported *tiebackv1.Outcome
	// Err is nil if the whole outcome was reported. If it is permanent, some of the close-outs could not be reported, and the
	// others were. After any other error the outcome may be reported again.
	Err error
}

// StoreLinks stores the links that the marks and unlinks of item i have changed in Procore. It is called just before the
// request details are reported, because the user's next click may depend on the links. reported is the outcome as it is about to
// be reported.
type StoreLinks func(ctx context.Context, i int, reported *tiebackv1.Outcome) error

// retry makes a call wait for the end of Procore's short rate limit, which lasts ten seconds; the rest of LongestLimit allows for
// clock skew. A call gives up after 20 such waits.
var retry = procore.Retry{Limits: 20, LongestLimit: 15 * time.Second}

// Report reports a company's outcomes to Procore in as few calls as possible. It returns one result per item and does not
// change the items. It waits for the end of short rate limits: if it returned an error instead, the calls that were made would be
// repeated, and would use up the next window too.
func Report(ctx context.Context, session *procore.Session, items []Item, store StoreLinks) []Result {
	s := session.Retrying(retry)
	var units []*unit
	results := make([]Result, len(items))
	for i, it := range items {
		results[i].Reported = proto.CloneOf(it.Outcome)
		for _, c := range results[i].Reported.CloseOuts {
			units = append(units, &unit{CloseOut: c, event: i, redelivered: it.Redelivered, mayBeFinal: it.MayBeFinal})
		}
	}
	for _, step := range []func(context.Context, *procore.Session, []*unit){unlinks, externalData, assignments, transactions} {
		step(ctx, s, reportable(units))
	}
	learnRoutes(s, units)
	storeLinks(ctx, results, reportable(units), store)
	requestDetails(ctx, s, reportable(units))
	for _, u := range units {
		if r := &results[u.event]; u.err != nil && (r.Err == nil || fault.ClassOf(r.Err) == fault.Permanent) {
			r.Err = u.err // a transient error outweighs a permanent one
		}
	}
	return results
}

// reportable returns the units of the events that will not be retried. A permanent error does not stop the other units of its
// event.
func reportable(units []*unit) []*unit {
	retried := map[int]bool{}
	for _, u := range units {
		retried[u.event] = retried[u.event] || u.err != nil && fault.ClassOf(u.err) != fault.Permanent
	}
	return slices.DeleteFunc(slices.Clone(units), func(u *unit) bool { return retried[u.event] })
}

// storeLinks stores the links of the outcomes concurrently, so that the writes share commits.
func storeLinks(ctx context.Context, results []Result, units []*unit, store StoreLinks) {
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

// item is one update of a unit.
type item struct {
	unit   *unit
	update map[string]any
	names  []string // the fields of update that identify it in Procore's answer
	record string   // the record's name for the accountant
	mark   *tiebackv1.Mark
}

// run makes the call, and fails the unit of each item that Procore refuses. If one item makes Procore refuse the whole call,
// procore.Session.Sync finds that item, so that other events are not affected.
func (b batch) run(ctx context.Context, s *procore.Session) {
	if len(b.items) == 0 {
		return
	}
	for _, it := range b.items {
		b.call.Updates = append(b.call.Updates, it.update)
	}
	result, err := s.Sync(ctx, b.call)
	if err == nil {
		b.handleRefusals(ctx, s, result.Refused)
		return
	}
	for _, it := range b.items {
		if fault.ClassOf(err) != fault.Permanent {
			it.unit.err = err
			continue
		}
		it.dropMark()
		it.unit.fail(fault.UserMessage(err, "Procore refused to mark "+it.record+" as synced."), err)
	}
}

// runHalves makes the call in two halves. It returns false if all items belong to one unit.
func (b batch) runHalves(ctx context.Context, s *procore.Session) bool {
	var starts []int // of the items of each unit
	for i, it := range b.items {
		if i == 0 || it.unit != b.items[i-1].unit {
			starts = append(starts, i)
		}
	}
	if len(starts) < 2 {
		return false
	}
	middle := starts[len(starts)/2]
	b.call.Updates = nil
	batch{b.call, b.items[:middle]}.run(ctx, s)
	batch{b.call, b.items[middle:]}.run(ctx, s)
	return true
}

// handleRefusals fails the units of the items that Procore refused. If an item of Procore's answer matches no item that was sent,
// the call is repeated in halves until it has the items of only one unit.
func (b batch) handleRefusals(ctx context.Context, s *procore.Session, refused []procore.ItemError) {
	matches := make([][]item, len(refused))
	for i, r := range refused {
		for _, it := range b.items {
			if it.matches(r.Item) {
				matches[i] = append(matches[i], it)
			}
		}
		if matches[i] == nil && b.runHalves(ctx, s) {
			return
		}
	}
	for i, r := range refused {
		for _, it := range matches[i] {
			it.refused(r.Why)
		}
		if matches[i] == nil {
			// Procore refused one of the unit's items, but which one is unknown, so none counts as accepted.
			for _, it := range b.items {
				it.dropMark()
			}
			b.items[0].unit.failUpdate(cmp.Or(b.items[0].unit.Record, b.items[0].record), r.Why)
		}
	}
}

// refused fails the unit because Procore refused the item. If the item would remove the mark of a record that Procore does not
// have, nothing is left to do, and the unit does not fail.
func (it item) refused(why string) {
	switch missing := notFound(why); {
	case missing && it.mark != nil && it.mark.OriginId == "":
		it.unit.gone = append(it.unit.gone, it.mark)
	case missing:
		it.dropMark()
		it.unit.fail(fmt.Sprintf("Your ERP system has booked this, but %s no longer exists in Procore. Delete it in your ERP system as well, or correct it there.", it.record), nil)
	default:
		it.dropMark()
		it.unit.failUpdate(it.record, why)
	}
}

// notFound reports whether a refusal says that Procore does not have the record. Procore does not document the text; these are
// the phrases that were observed.
func notFound(why string) bool {
	why = strings.ToLower(why)
	return slices.ContainsFunc([]string{"could not be found", "couldn't be found", "can't be found", "not found", "does not exist", "no longer exists"},
		func(words string) bool { return strings.Contains(why, words) })
}

// dropMark removes a refused mark from its close-out, so that no link is stored for it.
func (it item) dropMark() {
	it.unit.Marks = slices.DeleteFunc(it.unit.Marks, func(m *tiebackv1.Mark) bool { return m == it.mark })
}

// matches reports whether an item of Procore's answer is the answer to it.
func (it item) matches(answer map[string]any) bool {
	for _, n := range it.names {
		if fmt.Sprint(answer[n]) != fmt.Sprint(it.update[n]) {
			return false
		}
	}
	return true
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

// recordName returns the name of a unit's record for messages, with the item type; if it has no name, only the item type.
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
