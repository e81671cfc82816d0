package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/ingest"
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
// count. The filter is written in both ways, filter[status] as in the guide and filters[status]
// as in Procore's SDK: the one that is not known is ignored, and a filter that was not
// heeded shows in the deliveries' outcome. One call a page, and one more where a list ends with a full page.
func (r *Reader) Deliveries(ctx context.Context, hook int64, status string, from DeliveryMark, take func([]Logged) error) (DeliveryMark, error) {
	l := &deliveryList{reader: r, hook: hook, status: status, seen: map[string]bool{}, from: from, byID: true}
	if !from.Newest {
		l.start = from.Last
		l.proven = from.Last != ""
	}
	for !l.done {
		fresh, err := l.next(ctx)
		if err == nil {
			err = take(fresh)
		}
		if err != nil {
			return from, err
		}
	}
	return l.mark(time.Now()), nil
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
	seen        map[string]bool
	first, last string // ids, in the list's order
	began, ends time.Time
}

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
		l.byID, l.start = false, fmt.Sprint(len(l.seen))
		return
	}
	known := l.from.Newest && l.from.Last != "" && l.seen[l.from.Last]
	past := l.ends.Before(l.began) && l.ends.Before(l.reader.Since) // the newest come first
	if got < smallestCap || unseen == 0 || known || past {
		l.done = true
		return
	}
	if l.start = l.last; !l.byID {
		l.start = fmt.Sprint(len(l.seen))
	}
}

// read reads a line of the log, and says whether it was not seen before. About anything else
// than a new ERP request of this company, with an outcome of the status asked for, it has no delivery.
func (l *deliveryList) read(item map[string]any) (Logged, bool) {
	key := fmt.Sprint(item["event_id"])
	if l.seen[key] {
		return Logged{}, false
	}
	l.seen[key] = true
	event, _ := item["event"].(map[string]any)
	raw, err := json.Marshal(event)
	var d *tiebackv1.Delivery
	if err == nil {
		d, err = ingest.Logged(raw)
	}
	if err != nil {
		l.reader.odd(procore.ListDeliveries, key, err)
	}
	l.note(key, d)
	outcome, _ := item["outcome"].(string)
	if d != nil && (d.CompanyId != l.reader.Company || l.status != LogAny && outcome == "ok") {
		d = nil
	}
	return Logged{Delivery: d, Outcome: outcome}, true
}

// note keeps the list's ends, by which its order is known.
func (l *deliveryList) note(key string, d *tiebackv1.Delivery) {
	l.last = key
	if l.first == "" {
		l.first = key
	}
	if d == nil {
		return
	}
	if l.ends = d.OccurredAt.AsTime(); l.began.IsZero() {
		l.began = l.ends
	}
}

// mark is where the next reading may begin: behind the last where the list goes by id and grows
// at its end, before the first where it grows at its start; at all where neither is sure.
func (l *deliveryList) mark(now time.Time) DeliveryMark {
	m := DeliveryMark{Full: l.from.Full}
	if l.from.Last == "" {
		m.Full = now
	}
	switch {
	case l.last == "": // nothing new
		m.Last, m.Newest = l.from.Last, l.from.Newest
	case l.from.Last != "" && !l.from.Newest && l.proven, l.proven && l.ends.After(l.began):
		m.Last = l.last
	case l.ends.Before(l.began):
		m.Last, m.Newest = l.first, true
	}
	return m
}
