package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/shopspring/decimal"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/conformance/rehearsal"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func declareNothing(c *tiebackv1.CapabilitiesResponse) { c.Entities = nil }

var count atomic.Int64

// ignoreKey books under a different key each time; Find knows the first one.
func ignoreKey(d connector.Driver, e *erp) putFunc {
	return func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		key := q.Key
		q.Key += fmt.Sprint("#", count.Add(1))
		a, err := d.Put(ctx, q)
		if err == nil {
			e.remember(key, a.Booking)
		}
		return a, err
	}
}

// checkThenBook looks the key up first, without a lock.
func checkThenBook(d connector.Driver, e *erp) putFunc {
	book := ignoreKey(d, e)
	return func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		found, err := d.Find(ctx, &tiebackv1.FindRequest{CompanyId: 7, Key: q.Key})
		if err == nil && found.Booking != nil {
			return &tiebackv1.PutResponse{Booking: found.Booking}, nil
		}
		time.Sleep(time.Millisecond)
		return book(ctx, q)
	}
}

// checkThenChange looks the newest request up first, without a lock.
func checkThenChange(d connector.Driver, e *erp) putFunc {
	return func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		e.mu.Lock()
		old := e.at(q.Record.Entity, q.Record.OriginId)
		change := old != nil && !connector.Superseded(old.orderLatest, q)
		e.mu.Unlock()
		if !change {
			return d.Put(ctx, q)
		}
		time.Sleep(rand.N(5 * time.Millisecond))
		q.Order = ""
		a, err := d.Put(ctx, q)
		e.mu.Lock()
		defer e.mu.Unlock()
		old.orderLatest = max(old.orderLatest, q.OrderLatest)
		return a, err
	}
}

// refuseOwn refuses the change of a record that the same request wrote before, if its time has no fraction.
func refuseOwn(d connector.Driver, e *erp) putFunc {
	return func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		e.mu.Lock()
		old := e.at(q.Record.Entity, q.Record.OriginId)
		own := old != nil && q.Order < old.orderLatest && e.keys[q.Key] == nil
		e.mu.Unlock()
		if own {
			return nil, errSuperseded
		}
		return d.Put(ctx, q)
	}
}

// refuseLessExact compares the whole order_latest to find out whether the same request wrote the record.
func refuseLessExact(d connector.Driver, e *erp) putFunc {
	return func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		e.mu.Lock()
		old := e.at(q.Record.Entity, q.Record.OriginId)
		refused := old != nil && q.Order != "" && q.Order < old.orderLatest && q.OrderLatest != old.orderLatest && e.keys[q.Key] == nil
		e.mu.Unlock()
		if refused {
			return nil, errSuperseded
		}
		return d.Put(ctx, q)
	}
}

func (e *erp) remember(key string, b *tiebackv1.Booking) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.keys[key] == nil {
		e.keys[key] = proto.CloneOf(b)
	}
}

// rewrite treats a repeated request as a change.
func rewrite(d connector.Driver, e *erp) putFunc {
	return func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		e.mu.Lock()
		if b := e.keys[q.Key]; b != nil && q.Record.OriginId == "" {
			if r := e.at(q.Record.Entity, b.OriginId); r != nil {
				r.Name = q.Record.Name
				e.touch(r)
			}
		}
		e.mu.Unlock()
		return d.Put(ctx, q)
	}
}

// revive restores a removed record instead of booking a new one.
func revive(d connector.Driver, e *erp) putFunc {
	return func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, r := range e.records {
			if r.ProcoreId == q.Record.ProcoreId && r.gone && q.Record.OriginId == "" && e.keys[q.Key] == nil {
				r.gone = false
				e.touch(r)
				e.keys[q.Key] = &tiebackv1.Booking{OriginId: r.OriginId, OriginCode: r.Code, Stamp: q.Stamp}
				return &tiebackv1.PutResponse{Booking: proto.CloneOf(e.keys[q.Key])}, nil
			}
		}
		e.mu.Unlock()
		a, err := d.Put(ctx, q)
		e.mu.Lock()
		return a, err
	}
}

// without books a refused record without the field that the refusal names.
func without(field string, leave func(*Record)) func(connector.Driver, *erp) connector.Driver {
	return replacingPut(func(d connector.Driver, _ *erp) putFunc {
		return func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
			a, err := d.Put(ctx, q)
			if fault.Field(err) != field {
				return a, err
			}
			lines := len(q.Record.Lines)
			leave(q.Record)
			a, err = d.Put(ctx, q)
			for err == nil && len(a.Booking.LineOriginIds) < lines {
				a.Booking.LineOriginIds = append(a.Booking.LineOriginIds, fmt.Sprint("left out ", len(a.Booking.LineOriginIds)))
			}
			return a, err
		}
	})
}

// retry hides a busy ERP by retrying.
func retry(d connector.Driver, _ *erp) putFunc {
	return func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		a, err := d.Put(ctx, q)
		if fault.ClassOf(err) == fault.Throttled {
			time.Sleep(fault.RetryAfter(err))
			return d.Put(rehearsal.With(ctx, ""), q)
		}
		return a, err
	}
}

// early gives a change its place in the list before it is committed, so that a listing skips it.
func early(d connector.Driver, e *erp) connector.Driver {
	return &broken{Driver: d, put: func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		e.hide(q.Record.ProcoreId, 1)
		defer e.hide(q.Record.ProcoreId, -1)
		a, err := d.Put(ctx, q)
		time.Sleep(5 * time.Millisecond)
		return a, err
	}, list: func(ctx context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
		a, err := d.List(ctx, q)
		if err == nil {
			a.Changes = e.visible(a.Changes)
		}
		return a, err
	}}
}

func (e *erp) hide(id int64, by int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hidden[id] += by
}

func (e *erp) visible(all []*tiebackv1.Change) (out []*tiebackv1.Change) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range all {
		if e.hidden[c.Record.ProcoreId] == 0 {
			out = append(out, c)
		}
	}
	return out
}

// halfPage omits the last page if it is not full.
func halfPage(d connector.Driver) listFunc {
	return func(ctx context.Context, q *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
		a, err := d.List(ctx, q)
		if err != nil || !a.More {
			return a, err
		}
		next := proto.CloneOf(q)
		next.Cursor = a.Cursor
		if b, err := d.List(ctx, next); err == nil && !b.More && len(b.Changes) < len(a.Changes) {
			a.More, a.Cursor = false, b.Cursor
		}
		return a, nil
	}
}

func inclusive(q *tiebackv1.ListRequest) {
	if n, err := strconv.Atoi(q.Cursor); err == nil && n > 0 {
		q.Cursor = strconv.Itoa(n - 1)
	}
}

// slow completes the call before it checks whether the context ended.
func slow(d connector.Driver, _ *erp) putFunc {
	return func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		time.Sleep(3 * time.Millisecond) // long enough for the caller to give up
		a, err := d.Put(ctx, q)
		if ctx.Err() != nil {
			time.Sleep(promptly + 100*time.Millisecond)
		}
		return a, err
	}
}

func float(s string) string {
	d, _ := decimal.NewFromString(s)
	return decimal.NewFromFloat32(float32(d.InexactFloat64())).String()
}

func floats(q *tiebackv1.PutRequest) {
	for _, l := range q.Record.Lines {
		l.Amount = float(l.Amount)
	}
}

func onLines(change func(*tiebackv1.Line)) func(*tiebackv1.PutRequest) {
	return func(q *tiebackv1.PutRequest) {
		for _, l := range q.Record.Lines {
			change(l)
		}
	}
}

// ownIsForeign refuses any named currency, the company's own included.
func ownIsForeign(d connector.Driver, _ *erp) putFunc {
	return func(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		if c := q.Record.Currency; c != "" {
			return nil, fault.Refused("currency", "The record is in %s, and this ERP takes no other currency.", c)
		}
		return d.Put(ctx, q)
	}
}

func forgetLine(q *tiebackv1.PutRequest) {
	if n := len(q.Record.Lines); n > 3 {
		q.Record.Lines[n-1] = proto.CloneOf(q.Record.Lines[n-2])
	}
}

func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r > '~' {
			return '?'
		}
		return r
	}, s)
}

var errLost = errors.New("the ERP gave an error")
