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
	LogDiscarded = "discarded" // given up: Procore does not send it again
	LogFailing   = "failing"   // Procore retries it
)

// Logged is a delivery of a new ERP request in Procore's log.
type Logged struct {
	*tiebackv1.Delivery
	Outcome string // ok, discarded, retried, failed
}

// DeliveryMark is a position up to which a list of deliveries has been read. The zero value: nothing was read.
type DeliveryMark struct {
	Last   string    `json:"last,omitempty"`   // id of the last delivery read; "": the next reading reads all
	Newest bool      `json:"newest,omitempty"` // the list has the newest first, and Last is of the first
	Full   time.Time `json:"full"`             // when the whole list was last read
}

const (
	pageSize = 1000
	// smallestCap is the least that a list may cap its pages at: a shorter page is the last.
	smallestCap = 100
)

// Deliveries calls take with a hook's deliveries of new ERP requests that have a status, page by page, from a mark on. It
// returns the next mark. It returns from and the error if take fails.
//
// Procore's reference calls page_start "the last id of the previous page", but it may be a count. Pages are requested by id
// first; if that returns nothing new after a full page, they are requested by count. The filter is sent as filter[status], as
// in the guide, and as filters[status], as in the published schema. Deliveries does not rely on it, and leaves out lines of
// another status. It makes one call per page, and one more if the list ends with a full page.
func (r *Reader) Deliveries(ctx context.Context, hook int64, status string, from DeliveryMark, take func([]Logged) error) (DeliveryMark, error) {
	return r.list(hook, status, from).all(ctx, take)
}

// Failing is Deliveries with LogFailing. It also returns how many events Procore is retrying: those without a line that shows
// them as delivered or given up, unless they are too old to be retried.
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

// deliveryList is a list that is being read.
type deliveryList struct {
	reader      *Reader
	hook        int64
	status      string
	from        DeliveryMark
	start       string // page_start of the next page
	byID        bool   // page_start is an id, not a count
	proven      bool   // a page requested by id had new lines
	done        bool
	seen        map[string]bool // event ids
	lines       map[string]bool // an event may have a line for each attempt
	first, last string          // ids, in the list's order
	began, ends time.Time

	now        time.Time
	unfiltered bool   // Procore ignores the filter
	young      bool   // there is an event that Procore may still retry
	newestOld  string // the first id after the last such event; "": none
	lastOld    string // the last id before the first such event; "": none

	waiting, ended map[string]bool // events that Procore retries, and those that it has delivered or given up
}

// retriedFor is longer than the time for which Procore retries a delivery: 12 hours, and a last pause of one hour.
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

// turn sets the start of the next page.
func (l *deliveryList) turn(got, unseen int) {
	paged := l.start != ""
	switch {
	case unseen > 0 && paged && l.byID:
		l.proven = true
	case unseen == 0 && paged && l.byID && !l.proven: // after a full page: page_start may be a count
		l.byID, l.start = false, fmt.Sprint(len(l.lines))
		return
	}
	known := l.from.Newest && l.from.Last != "" && l.seen[l.from.Last]
	past := l.ends.Before(l.began) && l.ends.Before(l.reader.Since) // the list has the newest first
	if got < smallestCap || unseen == 0 || known || past {
		l.done = true
		return
	}
	if l.start = l.last; !l.byID {
		l.start = fmt.Sprint(len(l.lines))
	}
}

// others are the outcomes that a list with a status filter can't have unless Procore ignores the filter.
var others = map[string][]string{
	LogDiscarded: {"ok", "retried", "failed"},
	LogFailing:   {"ok", "discarded"},
}

// read parses a line of the log. It returns false if the line was read before. Logged has no delivery if the line is not about
// a new ERP request of this company, or has an outcome of another status. A line with no outcome or an unknown one counts as
// one of the status.
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

// count records whether Procore retries an event or has ended it. An event that can't be parsed counts as retried at any age.
func (l *deliveryList) count(key, outcome string, d *tiebackv1.Delivery, err error) {
	switch {
	case outcome == "ok" || outcome == "discarded":
		l.ended[key] = true
	case err != nil, d != nil && l.now.Sub(delivery.Occurred(d)) < retriedFor:
		l.waiting[key] = true
	}
}

// note records the first and last line, which show the order of the list.
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

// mark returns where the next reading may begin: after the last line if pages go by id and the list grows at its end, before
// the first line if it grows at its start, and at the beginning if neither is certain. If Procore ignores the filter, lines
// can change their status after they were read, so the mark passes only lines that are too old for that. A filtered list of
// failing deliveries is short and is always read whole.
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
