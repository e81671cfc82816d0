package erplog

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/delivery"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Statuses of deliveries in Procore's log.
const (
	LogAny       = "any"
	LogDiscarded = "discarded" // given up: nobody sends it again
	LogFailing   = "failing"   // the hook's queue waits for it
)

// Logged is a delivery of a new ERP request in Procore's log.
type Logged struct {
	*tiebackv1.Delivery
	Outcome string // ok, discarded, retried, failed
}

// DeliveryMark is up to where a list of deliveries has been read. The zero value: not at all.
type DeliveryMark struct {
	Last   string    `json:"last,omitempty"`   // id of the last delivery read; "": read all again
	Newest bool      `json:"newest,omitempty"` // the list has the newest first, and Last is of the first
	Full   time.Time `json:"full"`             // when all was read
}

const (
	pageSize = 1000
	// smallestCap is the least that a list may cap its pages at: a shorter page is the last.
	smallestCap = 100
)

// Deliveries hands over a hook's deliveries of new ERP requests of a status, page by page, from
// a mark on, and gives the next mark. An error of take ends it; the mark then stays.
//
// Procore's reference calls page_start "the last id of the previous page"; others count. Pages
// are asked for by id first; where that shows nothing new behind a full page, once more by
// count. The filter is sent as filter[status], as in the guide, and as filters[status], as in the
// published schema. Neither is relied on: a line of another status is left out here. One call a page, and one more
// where a list ends with a full page.
func (r *Reader) Deliveries(ctx context.Context, hook int64, status string, from DeliveryMark, take func([]Logged) error) (DeliveryMark, error) {
	return r.list(hook, status, from).all(ctx, take)
}

// Failing is Deliveries with LogFailing. It also counts the events that Procore retries now: not those that a
// later line shows as delivered or given up, and not those that are older than Procore retries.
func (r *Reader) Failing(ctx context.Context, hook int64, from DeliveryMark, take func([]Logged) error) (int, DeliveryMark, error) {
	l := r.list(hook, LogFailing, from)
	mark, err := l.all(ctx, take)
	maps.DeleteFunc(l.waiting, func(event string, _ bool) bool { return l.ended[event] })
	return len(l.waiting), mark, err
}

func (r *Reader) list(hook int64, status string, from DeliveryMark) *deliveryList {
	l := &deliveryList{
		reader: r, hook: hook, status: status, from: from, byID: true, now: time.Now(),
		seen: map[string]bool{}, lines: map[string]bool{}, waiting: map[string]bool{}, ended: map[string]bool{},
	}
	if !from.Newest {
		l.start = from.Last
		l.proven = from.Last != ""
	}
	return l
}

func (l *deliveryList) all(ctx context.Context, take func([]Logged) error) (DeliveryMark, error) {
	for !l.done {
		fresh, err := l.next(ctx)
		if err == nil {
			err = take(fresh)
		}
		if err != nil {
			return l.from, err
		}
	}
	return l.mark(l.now), nil
}

// deliveryList is a list while it is read.
type deliveryList struct {
	reader      *Reader
	hook        int64
	status      string
	from        DeliveryMark
	start       string // page_start of the next page
	byID        bool   // page_start is an id, not a count
	proven      bool   // a page asked for by id had something new
	done        bool
	seen        map[string]bool // event ids
	lines       map[string]bool // an event may have a line for each attempt
	first, last string          // ids, in the list's order
	began, ends time.Time

	now        time.Time
	unfiltered bool   // Procore ignores the filter
	young      bool   // there is an event that Procore may still retry
	newestOld  string // the first id behind the last such event, "": none
	lastOld    string // the last id before the first such event, "": none

	waiting, ended map[string]bool // events that Procore retries, and those that it has delivered or given up
}

// retriedFor is longer than Procore retries a delivery: 12 hours, and the last pause of an hour.
const retriedFor = 14 * time.Hour

func (l *deliveryList) next(ctx context.Context) ([]Logged, error) {
	q := procore.Query("company_id", l.reader.Company, "page_size", pageSize, "filter[status]", l.status, "filters[status]", l.status)
	if l.start != "" {
		q.Set("page_start", l.start)
	}
	p, err := l.reader.page(ctx, procore.Call{Route: procore.ListDeliveries, ID: l.hook, Query: q}, 0)
	if err != nil {
		return nil, err
	}
	var fresh []Logged
	unseen := 0
	for _, item := range p.Items {
		d, isNew := l.read(item)
		if isNew {
			unseen++
		}
		if isNew && d.Delivery != nil {
			fresh = append(fresh, d)
		}
	}
	l.turn(len(p.Items), unseen)
	return fresh, nil
}

// turn decides where the next page is.
func (l *deliveryList) turn(got, unseen int) {
	paged := l.start != ""
	switch {
	case unseen > 0 && paged && l.byID:
		l.proven = true
	case unseen == 0 && paged && l.byID && !l.proven: // behind a full page, by an id: it may be a count
		l.byID, l.start = false, fmt.Sprint(len(l.lines))
		return
	}
	known := l.from.Newest && l.from.Last != "" && l.seen[l.from.Last]
	past := l.ends.Before(l.began) && l.ends.Before(l.reader.Since) // the newest come first
	if got < smallestCap || unseen == 0 || known || past {
		l.done = true
		return
	}
	if l.start = l.last; !l.byID {
		l.start = fmt.Sprint(len(l.lines))
	}
}

// others are the outcomes that a list of a status can't have, where its filter is heeded.
var others = map[string][]string{
	LogDiscarded: {"ok", "retried", "failed"},
	LogFailing:   {"ok", "discarded"},
}

// read reads a line of the log, and says whether it was not seen before. About anything else
// than a new ERP request of this company, with an outcome of the status asked for, it has no delivery. A line
// without an outcome, or with an unknown one, counts as of the status.
func (l *deliveryList) read(item map[string]any) (Logged, bool) {
	key := fmt.Sprint(item["event_id"])
	outcome, _ := item["outcome"].(string)
	line := fmt.Sprint(key, " ", outcome, " ", item["started_at"])
	if l.lines[line] {
		return Logged{}, false
	}
	l.lines[line], l.seen[key] = true, true
	event, _ := item["event"].(map[string]any)
	raw, err := json.Marshal(event)
	var d *tiebackv1.Delivery
	if err == nil {
		d, err = delivery.ParseLogged(raw)
	}
	if err != nil {
		l.reader.malformed(procore.ListDeliveries, key, err)
	}
	l.note(key, d)
	l.count(key, outcome, d, err)
	if slices.Contains(others[l.status], outcome) {
		l.unfiltered, d = true, nil
	}
	if d != nil && d.CompanyId != l.reader.Company {
		d = nil
	}
	return Logged{Delivery: d, Outcome: outcome}, true
}

// count keeps how an event stands. One that can't be read may be waiting, however old it is.
func (l *deliveryList) count(key, outcome string, d *tiebackv1.Delivery, err error) {
	switch {
	case outcome == "ok" || outcome == "discarded":
		l.ended[key] = true
	case err != nil, d != nil && l.now.Sub(delivery.Occurred(d)) < retriedFor:
		l.waiting[key] = true
	}
}

// note keeps the list's ends, by which its order is known.
func (l *deliveryList) note(key string, d *tiebackv1.Delivery) {
	l.last = key
	if l.first == "" {
		l.first = key
	}
	if d.GetOccurredAt() == nil {
		return
	}
	if l.ends = d.OccurredAt.AsTime(); l.began.IsZero() {
		l.began = l.ends
	}
	switch old := l.now.Sub(l.ends) > retriedFor; {
	case !old:
		l.young, l.newestOld = true, ""
	case !l.young:
		l.newestOld, l.lastOld = cmp.Or(l.newestOld, key), key
	default:
		l.newestOld = cmp.Or(l.newestOld, key)
	}
}

// mark is where the next reading may begin: behind the last where the list goes by id and grows
// at its end, before the first where it grows at its start; at all where neither is sure. Where Procore ignores
// the filter, lines change their status after they were read: the mark then passes only what is too old for that. A
// list of failing deliveries that is filtered is short, and is always read whole.
func (l *deliveryList) mark(now time.Time) DeliveryMark {
	m := DeliveryMark{Full: l.from.Full}
	if l.from.Last == "" {
		m.Full = now
	}
	first, last := l.first, l.last
	switch {
	case l.unfiltered:
		first, last = l.newestOld, l.lastOld
	case l.status == LogFailing:
		return DeliveryMark{}
	}
	switch {
	case l.from.Last != "" && !l.from.Newest && l.proven, l.proven && l.ends.After(l.began):
		m.Last = last
	case l.ends.Before(l.began):
		m.Last, m.Newest = first, first != ""
	}
	if m.Last == "" && (l.last == "" || l.unfiltered) { // nothing new
		m.Last, m.Newest = l.from.Last, l.from.Newest
	}
	return m
}
