// Package fakes has an ERP, a Procore and a state in memory, for the tests of the syncs and
// imports: small, and strict where the contract is.
package fakes

import (
	"context"
	"slices"
	"strconv"
	"sync"

	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// ERP is a connector.Driver that only lists. Its changes are in the order they were made,
// and a cursor is how many of all entities' changes were read.
type ERP struct {
	mu      sync.Mutex
	changes []*tiebackv1.Change
	cannot  map[tiebackv1.Entity]bool

	PageSize int   // 0: as asked for
	Lists    int   // List calls so far
	Fail     error // what List answers from call FailFrom on
	FailFrom int
	Moved    bool // does not know its cursors any more
}

// Put adds or changes a record.
func (e *ERP) Put(r *tiebackv1.Record) { e.add(&tiebackv1.Change{Record: r}) }

// Delete leaves a tombstone: entity and ids.
func (e *ERP) Delete(r *tiebackv1.Record) {
	e.add(&tiebackv1.Change{Deleted: true, Record: &tiebackv1.Record{
		Entity: r.Entity, OriginId: r.OriginId, ProcoreId: r.ProcoreId, JobOriginId: r.JobOriginId, ContractOriginId: r.ContractOriginId,
	}})
}

// Cannot takes an entity out of the capabilities.
func (e *ERP) Cannot(entity tiebackv1.Entity) {
	e.cannot = map[tiebackv1.Entity]bool{entity: true}
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

// Driver gives the connector.Driver.
func (e *ERP) Driver() Driver { return Driver{e} }

// Driver is the ERP as the pipeline sees it.
type Driver struct{ erp *ERP }

// List pages through changes.
func (d Driver) List(_ context.Context, req *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	e := d.erp
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.Lists++; e.Fail != nil && e.Lists >= e.FailFrom {
		return nil, e.Fail
	}
	if e.Moved && req.Cursor != "" {
		return nil, fault.Refused("cursor", "This cursor is not ours.")
	}
	from, _ := strconv.Atoi(req.Cursor)
	size := int(req.Limit)
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
	fits := func(asked, is string) bool { return asked == "" || asked == is }
	return c != nil && r.Entity == req.Entity && fits(req.JobOriginId, r.JobOriginId) &&
		fits(req.SubJobOriginId, r.SubJobOriginId) && fits(req.ParentOriginId, r.ParentOriginId)
}

// Capabilities has every entity, but for those it cannot.
func (d Driver) Capabilities(context.Context, *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	answer := &tiebackv1.CapabilitiesResponse{Name: "fake"}
	for n := range tiebackv1.Entity_name {
		if entity := tiebackv1.Entity(n); n != 0 && !d.erp.cannot[entity] {
			answer.Entities = append(answer.Entities, &tiebackv1.EntityCapability{Entity: entity, Put: true, Update: true, List: true, State: true, Remove: true, Tax: true, Retainage: true, Currency: true})
		}
	}
	slices.SortFunc(answer.Entities, func(a, b *tiebackv1.EntityCapability) int { return int(a.Entity - b.Entity) })
	return answer, nil
}

// The rest of the contract is no business of syncs and imports.

// Put is refused.
func (Driver) Put(context.Context, *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	return nil, errWrites
}

// Find is refused.
func (Driver) Find(context.Context, *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	return nil, errWrites
}

// State is refused.
func (Driver) State(context.Context, *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	return nil, errWrites
}

// Remove is refused.
func (Driver) Remove(context.Context, *tiebackv1.RemoveRequest) (*tiebackv1.RemoveResponse, error) {
	return nil, errWrites
}

// Close does nothing.
func (Driver) Close() error { return nil }

var errWrites = fault.Permanentf("syncs and imports only list")
