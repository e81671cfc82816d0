package conformance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// flaws are typical mistakes of connectors, with the cases that must catch them.
var flaws = []flaw{
	{name: "books by each call, whatever the key", driver: replacingPut(ignoreKey),
		caught: []string{"the same key twice", "the same key many times at once", "timeouts", "cancelled"}},
	{name: "looks the key up before it books, without a lock", driver: replacingPut(checkThenBook),
		caught: []string{"the same key many times at once"}},
	{name: "keeps keys in its process", driver: ownKeys,
		caught: []string{"the same key twice", "the same key many times at once", "killed while booking"}},
	{name: "treats a repeated booking as a change", driver: replacingPut(rewrite), caught: []string{"the same key with other content"}},
	{name: "forgets its keys when it is killed", restart: func(e *erp) { clear(e.keys) }, caught: []string{"killed while booking"}},
	{name: "answers before it is on disk", restart: loseLast, caught: []string{"killed while booking"}},
	{name: "is not killed by the restart", immune: true, caught: []string{"killed while booking"}},
	{name: "forgets the stamp", driver: changingPut(func(q *tiebackv1.PutRequest) { q.Stamp = "" }), caught: []string{"the same key twice"}},
	{name: "gives every record the same origin id when busy", driver: sameOrigin, caught: []string{"different keys at once"}},
	{name: "forgets the last line", driver: changingPut(forgetLine), caught: []string{"many lines"}},
	{name: "omits the tax of a line", driver: changingPut(onLines(func(l *tiebackv1.Line) { l.TaxAmount = "" })), caught: []string{"tax"}},
	{name: "omits the tax code", driver: changingPut(onLines(func(l *tiebackv1.Line) { l.TaxCodeOriginId = "" })), caught: []string{"tax"}},
	{name: "omits the tax of a document", driver: changingPut(func(q *tiebackv1.PutRequest) { q.Record.TaxAmount = "" }), caught: []string{"tax"}},
	{name: "pays the retainage of a line", driver: changingPut(onLines(func(l *tiebackv1.Line) { l.Retainage = "" })), caught: []string{"retainage"}},
	{name: "omits the retainage percent", driver: changingPut(func(q *tiebackv1.PutRequest) { q.Record.RetainagePercent = "" }), caught: []string{"retainage"}},
	{name: "books every currency as its own", driver: changingPut(func(q *tiebackv1.PutRequest) { q.Record.Currency = "" }), caught: []string{"currency"}},
	{name: "treats the company's own currency as foreign", driver: replacingPut(ownIsForeign), caught: []string{"currency"}},
	{name: "takes other currencies and does not declare its own", driver: func(d connector.Driver, _ *erp) connector.Driver {
		return &broken{Driver: d, caps: func(c *tiebackv1.CapabilitiesResponse) { c.Currency = "" }}
	}, caught: []string{"capabilities"}},
	{name: "returns line ids in another order", driver: changingBooking(func(b *tiebackv1.Booking) { slices.Reverse(b.LineOriginIds) }),
		caught: []string{"many lines", "64-bit ids", "every declared entity"}},
	{name: "omits a bad line and books the rest", driver: without("cost code", func(r *Record) {
		r.Lines = slices.DeleteFunc(r.Lines, func(l *tiebackv1.Line) bool { return len(l.CostCodeOriginId) > 10 })
		r.CostCodeOriginId = ""
	}), caught: []string{"one bad line among 200", "unknown cost code"}},
	{name: "stores money as float32", driver: changingPut(floats), caught: []string{"cents"}},
	{name: "books without the vendor if it is unknown", driver: without("vendor", func(r *Record) { r.VendorOriginId = "" }), caught: []string{"unknown vendor"}},
	{name: "books without the job if it is unknown", driver: without("job", func(r *Record) { r.JobOriginId = "" }), caught: []string{"unknown job"}},
	{name: "reports errors as success", driver: changingError(func(error) error { return nil }),
		caught: []string{"unknown vendor", "unknown job", "unknown cost code", "the answer was lost", "throttled", "taken job code", "an older request never overwrites a newer one"}},
	{name: "reports every error as permanent", driver: changingError(func(err error) error { return fault.New(fault.Permanent, err) }),
		caught: []string{"the answer was lost", "throttled", "timeouts", "killed while booking"}},
	{name: "reports a lost answer as not done", driver: changingError(func(err error) error {
		if fault.ClassOf(err) == fault.Ambiguous {
			return fault.New(fault.Transient, errLost)
		}
		return err
	}), caught: []string{"the answer was lost"}},
	{name: "refuses without a field and a user message", driver: changingError(func(err error) error {
		if fault.ClassOf(err) == fault.Permanent {
			return fault.New(fault.Permanent, errLost)
		}
		return err
	}), caught: []string{"taken job code", "unknown vendor", "a change of what isn't there"}},
	{name: "retries by itself when the ERP is busy", driver: replacingPut(retry), caught: []string{"throttled"}},
	{name: "returns seconds after its caller has canceled", driver: replacingPut(slow), caught: []string{"cancelled", "timeouts"}},
	{name: "cuts names to 60 bytes", driver: changingPut(func(q *tiebackv1.PutRequest) { q.Record.Name = q.Record.Name[:min(60, len(q.Record.Name))] }),
		caught: []string{"every script and length of text"}},
	{name: "replaces non-ASCII characters with question marks", driver: changingPut(func(q *tiebackv1.PutRequest) { q.Record.Name = ascii(q.Record.Name) }),
		caught: []string{"every script and length of text"}},
	{name: "forgets the contact", driver: changingPut(func(q *tiebackv1.PutRequest) { q.Record.Contact = nil }), caught: []string{"every field"}},
	{name: "reads ids as float64", driver: changingPut(func(q *tiebackv1.PutRequest) { q.Record.ProcoreId = int64(float64(q.Record.ProcoreId)) }),
		caught: []string{"64-bit ids"}},
	{name: "loses a last page that isn't full", driver: replacingList(halfPage), caught: []string{"paging"}},
	{name: "begins a page with the last record of the previous page", driver: changingList(inclusive), caught: []string{"cursor", "paging"}},
	{name: "numbers a change before it is committed", driver: early, caught: []string{"paging while records change"}},
	{name: "starts over if it does not know the cursor", driver: changingList(func(q *tiebackv1.ListRequest) {
		if q.Cursor != "" && (q.Cursor[0] < '0' || q.Cursor[0] > '9') {
			q.Cursor = ""
		}
	}), caught: []string{"cursor"}},
	{name: "ignores the filter", driver: changingList(func(q *tiebackv1.ListRequest) { q.JobOriginId, q.SubJobOriginId = "", "" }), caught: []string{"filters"}},
	{name: "omits deleted records from the listing", driver: changingPage(func(a *tiebackv1.ListResponse) {
		a.Changes = slices.DeleteFunc(a.Changes, func(c *tiebackv1.Change) bool { return c.Deleted })
	}), caught: []string{"tombstones", "paging while records change"}},
	{name: "lists deleted records as existing", driver: changingPage(func(a *tiebackv1.ListResponse) {
		for _, c := range a.Changes {
			c.Deleted = false
		}
	}), caught: []string{"tombstones"}},
	{name: "reports that a deleted record exists", driver: changingState(deleted, present), caught: []string{"state", "every declared entity"}},
	{name: "reports an unknown record as deleted", driver: changingState(unknown, deleted), caught: []string{"state"}},
	{name: "fails when something is removed twice", driver: failTwice, caught: []string{"removed twice"}},
	{name: "removes a record with its dependents", driver: cascade, caught: []string{"removed while something depends on it"}},
	{name: "brings a removed record back when it is exported again", driver: replacingPut(revive), caught: []string{"exported again after a reset"}},
	{name: "treats the last change to arrive as the newest", driver: changingPut(func(q *tiebackv1.PutRequest) { q.Order = "" }),
		caught: []string{"an older request never overwrites a newer one"}},
	{name: "treats the highest id as the newest request", driver: changingPut(func(q *tiebackv1.PutRequest) {
		q.Order = fmt.Sprintf("%019d", q.Request)
		q.OrderLatest = q.Order
	}),
		caught: []string{"an older request never overwrites a newer one"}},
	{name: "ignores the id if two requests have the same time", driver: changingPut(func(q *tiebackv1.PutRequest) {
		q.Order, _, _ = strings.Cut(q.Order, "-")
		q.OrderLatest = q.Order
	}), caught: []string{"two requests of the same moment"}},
	{name: "stores order instead of order_latest", driver: changingPut(func(q *tiebackv1.PutRequest) { q.OrderLatest = q.Order }),
		caught: []string{"two requests whose order is unknown"}},
	{name: "compares order_latest instead of order", driver: changingPut(func(q *tiebackv1.PutRequest) { q.Order = q.OrderLatest }),
		caught: []string{"two requests whose order is unknown"}},
	{name: "takes a request whose time is less exact than before for another one", driver: replacingPut(refuseLessExact), caught: []string{"two requests whose order is unknown"}},
	{name: "refuses the second change of one request", driver: replacingPut(refuseOwn), caught: []string{"two requests whose order is unknown"}},
	{name: "compares order_latest when it removes", driver: func(d connector.Driver, _ *erp) connector.Driver {
		return &broken{Driver: d, remove: func(_ context.Context, q *tiebackv1.RemoveRequest) error {
			q.Order = q.OrderLatest
			return nil
		}}
	}, caught: []string{"two requests whose order is unknown"}},
	{name: "looks the newest request up before it changes, without a lock", driver: replacingPut(checkThenChange), caught: []string{"many changes at once"}},
	{name: "removes what a newer request changed", driver: func(d connector.Driver, _ *erp) connector.Driver {
		return &broken{Driver: d, remove: func(_ context.Context, q *tiebackv1.RemoveRequest) error {
			q.Order = ""
			return nil
		}}
	}, caught: []string{"an older reset never removes what a newer request changed"}},
	{name: "numbers the lines of each table from 1", driver: tables, caught: []string{"origin ids that Procore can tell apart"}},
	{name: "books a change of an unknown record as a new one", driver: without("origin_id", func(r *Record) { r.OriginId = "" }),
		caught: []string{"a change of what isn't there"}},
	{name: "declares what it can't do", driver: changingCapabilities(func(c *tiebackv1.CapabilitiesResponse) {
		c.Entities = append(c.Entities, &can{Entity: insurance, List: true})
	}), caught: []string{"every declared entity"}},
	{name: "accepts an entity that it does not declare", driver: changingCapabilities(func(c *tiebackv1.CapabilitiesResponse) { c.Entities[2] = &can{Entity: vendor, Put: true, List: true} }),
		caught: []string{"what is not declared"}},
	{name: "returns different capabilities each time", driver: changingCapabilities(func(c *tiebackv1.CapabilitiesResponse) { c.Version = fmt.Sprint(count.Add(1)) }),
		caught: []string{"capabilities"}},
	{name: "serves every company from the same books", driver: oneCompany, caught: []string{"another company"}},
}

func changingCapabilities(change func(*tiebackv1.CapabilitiesResponse)) func(connector.Driver, *erp) connector.Driver {
	return func(d connector.Driver, _ *erp) connector.Driver { return &broken{Driver: d, caps: change} }
}

func changingState(is, returned tiebackv1.RecordState) func(connector.Driver, *erp) connector.Driver {
	return func(d connector.Driver, _ *erp) connector.Driver {
		return &broken{Driver: d, state: func(a *tiebackv1.StateResponse) {
			if a.State == is {
				a.State = returned
			}
		}}
	}
}

// ownKeys keeps the keys of each process separate.
func ownKeys(d connector.Driver, _ *erp) connector.Driver {
	process := fmt.Sprint("@", count.Add(1))
	return &broken{Driver: d, find: func(q *tiebackv1.FindRequest) { q.Key += process },
		put: func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
			q.Key += process
			return d.Put(ctx, q)
		}}
}

// loseLast loses the last twelve records and their keys, like data that was not yet synced to disk.
func loseLast(e *erp) {
	for range 12 {
		n := len(e.records) - 1
		for key, b := range e.keys {
			if b.OriginId == e.records[n].OriginId {
				delete(e.keys, key)
			}
		}
		e.records = e.records[:n]
	}
}

// sameOrigin returns the origin id of the latest booking.
func sameOrigin(d connector.Driver, e *erp) connector.Driver {
	return &broken{Driver: d, put: func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		a, err := d.Put(ctx, q)
		if err == nil && q.Record.OriginId == "" && q.Record.Entity != assignment {
			time.Sleep(2 * time.Millisecond)
			e.mu.Lock()
			defer e.mu.Unlock()
			a.Booking.OriginId = fmt.Sprintf("M-%d", e.named)
		}
		return a, err
	}}
}

func failTwice(d connector.Driver, _ *erp) connector.Driver {
	return &broken{Driver: d, remove: func(ctx context.Context, q *tiebackv1.RemoveRequest) error {
		a, err := d.State(ctx, &tiebackv1.StateRequest{Entity: q.Entity, OriginId: q.OriginId})
		if err == nil && a.State != present {
			err = fault.Permanentf("There is no %s.", q.OriginId)
		}
		return err
	}}
}

func cascade(d connector.Driver, e *erp) connector.Driver {
	return &broken{Driver: d, remove: func(_ context.Context, q *tiebackv1.RemoveRequest) error {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, r := range slices.Clone(e.records) {
			if q.Entity == vendor && r.VendorOriginId == q.OriginId && !r.gone {
				r.gone = true
				e.touch(r)
			}
		}
		return nil
	}}
}

func oneCompany(d connector.Driver, _ *erp) connector.Driver {
	return &broken{Driver: d, find: func(q *tiebackv1.FindRequest) { q.CompanyId = 7 },
		list: func(ctx context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
			q.CompanyId = 7
			return d.List(ctx, q)
		}}
}

// tables numbers the lines of purchases and of sales separately, each from 1.
func tables(d connector.Driver, _ *erp) connector.Driver {
	return &broken{Driver: d,
		put: func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
			a, err := d.Put(ctx, q)
			for i := range a.GetBooking().GetLineOriginIds() {
				a.Booking.LineOriginIds[i] = fmt.Sprint(i + 1)
			}
			return a, err
		}}
}
