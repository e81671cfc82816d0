// Package workertest has what the tests of handlers need: an ERP, a Procore and the pipeline's state in memory,
// Procore's published samples, and golden files of what a handler did.
package workertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/order"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// ERP is a connector.Driver, a connector.Generations and a worker.State in memory. The zero value is an empty ERP
// that supports every entity. Set its fields before use.
type ERP struct {
	Refuse       func(*tiebackv1.Record) error // the error of Put for a record; nil: Put accepts all records
	RefuseRemove error                         // the error of Remove; nil: it removes
	RefuseFind   error                         // the error of Find; nil: it finds
	States       map[string]tiebackv1.RecordState
	Unsupported  []tiebackv1.Entity // missing in the capabilities
	Linked       map[string]string  // origin ids by item: "vendor/35"

	PageSize      int   // of List; 0: the size requested
	ListError     error // the error of List from call ListErrorFrom on
	ListErrorFrom int
	ForgetCursors bool // List refuses every cursor

	Puts            []*tiebackv1.Record // booked records in order, one per key
	Removed         []string            // origin ids
	NextGenerations []string            // "ENTITY_VENDOR/35 by 900"
	Lists           int                 // number of List calls

	mu          sync.Mutex
	changes     []*tiebackv1.Change
	bookings    map[string]*tiebackv1.Booking
	generations map[string]order.Key
	cursors     map[string]string
}

// Put books one record per key, as E-1, E-2 … with lines E-1-1, E-1-2 …
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
	e.Puts = append(e.Puts, proto.CloneOf(q.Record))
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

// Find returns the booking of a key.
func (e *ERP) Find(_ context.Context, q *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return &tiebackv1.FindResponse{Booking: e.bookings[q.Key]}, e.RefuseFind
}

// Add adds or changes a record that List returns.
func (e *ERP) Add(r *tiebackv1.Record) { e.add(&tiebackv1.Change{Record: r}) }

// Delete replaces a listed record with a tombstone, which has its entity and ids only.
func (e *ERP) Delete(r *tiebackv1.Record) {
	e.add(&tiebackv1.Change{Deleted: true, Record: &tiebackv1.Record{
		Entity: r.Entity, OriginId: r.OriginId, ProcoreId: r.ProcoreId, JobOriginId: r.JobOriginId, ContractOriginId: r.ContractOriginId,
	}})
}

func (e *ERP) add(c *tiebackv1.Change) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, old := range e.changes {
		if old != nil && old.Record.Entity == c.Record.Entity && old.Record.OriginId == c.Record.OriginId {
			e.changes[i] = nil
		}
	}
	e.changes = append(e.changes, c)
}

// List pages through the changes that Add and Delete made. A cursor is the number of changes read, of all entities.
func (e *ERP) List(_ context.Context, req *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.Lists++; e.ListError != nil && e.Lists >= e.ListErrorFrom {
		return nil, e.ListError
	}
	if e.ForgetCursors && req.Cursor != "" {
		return nil, fault.Refused("cursor", "This cursor is unknown.")
	}
	from, _ := strconv.Atoi(req.Cursor)
	size := int(req.Limit)
	if size == 0 {
		size = 1000
	}
	if e.PageSize > 0 {
		size = min(size, e.PageSize)
	}
	page := &tiebackv1.ListResponse{Cursor: req.Cursor}
	for i := from; i < len(e.changes); i++ {
		if c := e.changes[i]; matches(c, req) {
			if len(page.Changes) == size {
				page.More = true
				return page, nil
			}
			page.Changes = append(page.Changes, c)
			page.Cursor = strconv.Itoa(i + 1)
		}
	}
	return page, nil
}

func matches(c *tiebackv1.Change, req *tiebackv1.ListRequest) bool {
	r := c.GetRecord()
	matches := func(want, got string) bool { return want == "" || want == got }
	return c != nil && r.Entity == req.Entity && matches(req.JobOriginId, r.JobOriginId) &&
		matches(req.SubJobOriginId, r.SubJobOriginId) && matches(req.ParentOriginId, r.ParentOriginId)
}

// State returns deleted for a removed record, otherwise its state in States, otherwise present for a booked record, and
// unknown for any other.
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

// Remove removes a record, or returns RefuseRemove.
func (e *ERP) Remove(_ context.Context, q *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.RefuseRemove != nil {
		return nil, e.RefuseRemove
	}
	if !slices.Contains(e.Removed, q.OriginId) {
		e.Removed = append(e.Removed, q.OriginId)
	}
	return &tiebackv1.RemoveResponse{}, nil
}

// Capabilities returns all capabilities for all entities except those in Unsupported.
func (e *ERP) Capabilities(context.Context, *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	out := &tiebackv1.CapabilitiesResponse{Name: "The test ERP"}
	for n := range tiebackv1.Entity_name {
		if entity := tiebackv1.Entity(n); n != 0 && !slices.Contains(e.Unsupported, entity) {
			out.Entities = append(out.Entities, &tiebackv1.EntityCapability{Entity: entity, Put: true, Update: true, List: true, State: true, Remove: true, Tax: true, Retainage: true, Currency: true})
		}
	}
	slices.SortFunc(out.Entities, func(a, b *tiebackv1.EntityCapability) int { return int(a.Entity - b.Entity) })
	return out, nil
}

// Close does nothing.
func (e *ERP) Close() error { return nil }

// Generation returns the request that started a record's generation.
func (e *ERP) Generation(_ context.Context, company int64, entity string, id int64) (order.Key, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.generations[fmt.Sprintf("%d/%s/%d", company, entity, id)], nil
}

// NextGeneration starts a record's next generation. An older request changes nothing.
func (e *ERP) NextGeneration(_ context.Context, company int64, entity string, id int64, request order.Key) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := fmt.Sprintf("%d/%s/%d", company, entity, id)
	if e.generations == nil {
		e.generations = map[string]order.Key{}
	}
	if was := e.generations[key]; !was.Same(request) && was.Latest() < request.Latest() {
		e.generations[key] = request
		e.NextGenerations = append(e.NextGenerations, fmt.Sprintf("%s/%d by %d", entity, id, request.Request()))
	}
	return nil
}

// Link sets the link of a record; an empty origin removes it.
func (e *ERP) Link(itemType string, id int64, origin string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.Linked == nil {
		e.Linked = map[string]string{}
	}
	key := fmt.Sprintf("%s/%d", itemType, id)
	delete(e.Linked, key)
	if origin != "" {
		e.Linked[key] = origin
	}
}

// OriginID returns the origin id in Linked.
func (e *ERP) OriginID(_ context.Context, _ int64, itemType string, id int64) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.Linked[fmt.Sprintf("%s/%d", itemType, id)], nil
}

// Links returns the item ids in Linked by origin id.
func (e *ERP) Links(_ context.Context, _ int64, itemType string) (map[string]int64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	links := map[string]int64{}
	for key := range maps.Keys(e.Linked) {
		var id int64
		if _, err := fmt.Sscanf(key, itemType+"/%d", &id); err == nil {
			links[e.Linked[key]] = id
		}
	}
	return links, nil
}

// Cursor returns a saved cursor.
func (e *ERP) Cursor(_ context.Context, company int64, key string) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cursors[fmt.Sprintf("%d/%s", company, key)], nil
}

// SaveCursor saves a cursor.
func (e *ERP) SaveCursor(_ context.Context, company int64, key, cursor string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cursors == nil {
		e.cursors = map[string]string{}
	}
	e.cursors[fmt.Sprintf("%d/%s", company, key)] = cursor
	return nil
}
