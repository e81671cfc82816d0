// Package workertest has what tests of handlers need: an ERP and a Procore in memory, and
// the published samples. The ERP is as dull as a driver may be; it refuses what it is told to.
package workertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// ERP is a connector.Driver, connector.Generations and worker.State in memory. Set its fields
// before use; read its journal after.
type ERP struct {
	Refuse  func(*tiebackv1.Record) error // a booking; nil: nothing is refused
	Keep    error                         // what Remove answers; nil: it removes
	Lost    error                         // what Find answers; nil: it finds
	States  map[string]tiebackv1.RecordState
	Cannot  []tiebackv1.Entity  // what it does not have
	Records []*tiebackv1.Record // what List tells
	Linked  map[string]string   // "vendor/35" → origin id

	mu       sync.Mutex
	bookings map[string]*tiebackv1.Booking
	lives    map[string]order.Key
	cursors  map[string]string

	Puts    []*tiebackv1.Record // booked, in order, each key once
	Removed []string
	Ended   []string // lives, "ENTITY_VENDOR/35 by 900"
}

// Put books each key once: E-1, E-2 … with lines E-1-1, E-1-2 …
func (e *ERP) Put(_ context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.bookings[q.Key]; b != nil {
		return &tiebackv1.PutResponse{Booking: b}, nil
	}
	if e.Refuse != nil {
		if err := e.Refuse(q.Record); err != nil {
			return nil, err
		}
	}
	e.Puts = append(e.Puts, proto.Clone(q.Record).(*tiebackv1.Record))
	b := &tiebackv1.Booking{OriginId: q.Record.OriginId, OriginCode: q.Record.Code, OriginData: q.Record.OriginData}
	if b.OriginId == "" {
		b.OriginId = fmt.Sprintf("E-%d", len(e.Puts))
	}
	for i := range q.Record.Lines {
		b.LineOriginIds = append(b.LineOriginIds, fmt.Sprintf("%s-%d", b.OriginId, i+1))
	}
	if e.bookings == nil {
		e.bookings = map[string]*tiebackv1.Booking{}
	}
	e.bookings[q.Key] = b
	return &tiebackv1.PutResponse{Booking: b}, nil
}

// Find looks a booking up by key.
func (e *ERP) Find(_ context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return &tiebackv1.FindResponse{Booking: e.bookings[q.Key]}, e.Lost
}

// List tells Records of the entity, in one page.
func (e *ERP) List(_ context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	page := &tiebackv1.ListResponse{Cursor: "end"}
	for _, r := range e.Records {
		inJob := q.JobOriginId == "" || r.JobOriginId == q.JobOriginId
		if r.Entity == q.Entity && inJob && (q.SubJobOriginId == "" || r.SubJobOriginId == q.SubJobOriginId) {
			page.Changes = append(page.Changes, &tiebackv1.Change{Record: r})
		}
	}
	return page, nil
}

// State tells what States says; a removed record is deleted, a booked one present, any other unknown.
func (e *ERP) State(_ context.Context, q *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if slices.Contains(e.Removed, q.OriginId) {
		return &tiebackv1.StateResponse{State: tiebackv1.RecordState_RECORD_STATE_DELETED}, nil
	}
	if s, ok := e.States[q.OriginId]; ok {
		return &tiebackv1.StateResponse{State: s}, nil
	}
	for _, b := range e.bookings {
		if b.OriginId == q.OriginId {
			return &tiebackv1.StateResponse{State: tiebackv1.RecordState_RECORD_STATE_PRESENT}, nil
		}
	}
	return &tiebackv1.StateResponse{State: tiebackv1.RecordState_RECORD_STATE_UNKNOWN}, nil
}

// Remove removes, or answers Keep.
func (e *ERP) Remove(_ context.Context, q *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.Keep != nil {
		return nil, e.Keep
	}
	if !slices.Contains(e.Removed, q.OriginId) {
		e.Removed = append(e.Removed, q.OriginId)
	}
	return &tiebackv1.RemoveResponse{}, nil
}

// Capabilities has all entities, but for those it cannot.
func (e *ERP) Capabilities(context.Context, *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	out := &tiebackv1.CapabilitiesResponse{Name: "The test ERP"}
	for n := range tiebackv1.Entity_name {
		if entity := tiebackv1.Entity(n); n != 0 && !slices.Contains(e.Cannot, entity) {
			out.Entities = append(out.Entities, &tiebackv1.EntityCapability{Entity: entity, Put: true, Update: true, List: true, State: true, Remove: true, Tax: true, Retainage: true, Currency: true})
		}
	}
	return out, nil
}

// Close does nothing.
func (e *ERP) Close() error { return nil }

// Generation is the request that ended a record's last life.
func (e *ERP) Generation(_ context.Context, company int64, entity string, id int64) (order.Key, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lives[fmt.Sprintf("%d/%s/%d", company, entity, id)], nil
}

// NextGeneration ends a life; an older request never moves it back.
func (e *ERP) NextGeneration(_ context.Context, company int64, entity string, id int64, request order.Key) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := fmt.Sprintf("%d/%s/%d", company, entity, id)
	if e.lives == nil {
		e.lives = map[string]order.Key{}
	}
	if e.lives[key] < request {
		e.lives[key] = request
		e.Ended = append(e.Ended, fmt.Sprintf("%s/%d by %d", entity, id, request.Request()))
	}
	return nil
}

// LinkOf reads Linked.
func (e *ERP) LinkOf(_ context.Context, _ int64, itemType string, id int64) (string, error) {
	return e.Linked[fmt.Sprintf("%s/%d", itemType, id)], nil
}

// Links reads Linked, turned round.
func (e *ERP) Links(_ context.Context, _ int64, itemType string) (map[string]int64, error) {
	links := map[string]int64{}
	for key := range maps.Keys(e.Linked) {
		var id int64
		if _, err := fmt.Sscanf(key, itemType+"/%d", &id); err == nil {
			links[e.Linked[key]] = id
		}
	}
	return links, nil
}

// Cursor reads what SaveCursor kept.
func (e *ERP) Cursor(_ context.Context, company int64, entity string) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cursors[fmt.Sprintf("%d/%s", company, entity)], nil
}

// SaveCursor keeps a cursor.
func (e *ERP) SaveCursor(_ context.Context, company int64, entity, cursor string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cursors == nil {
		e.cursors = map[string]string{}
	}
	e.cursors[fmt.Sprintf("%d/%s", company, entity)] = cursor
	return nil
}
