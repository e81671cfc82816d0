package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/tieback/tieback/services/sandbox"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// loadGenerator exports vendors of one company for as long as faults happen, and exports a vendor again, changed, while its
// last export is still running. The scenario does these one after the other; the load generator does them concurrently.
type loadGenerator struct {
	cl      *cluster
	firm    *firm
	rng     *rand.Rand
	clicks  []click
	vendors []map[string]any // payloads
}

// click is one export of a vendor.
type click struct {
	request int64
	vendor  int64
	name    string
}

// between is the average time from click to click.
const between = 350 * time.Millisecond

// run clicks until the window has passed or ctx ends.
func (c *loadGenerator) run(ctx context.Context, window time.Duration) error {
	end := time.Now().Add(window)
	for n := 0; time.Now().Before(end); n++ {
		if err := c.click(n); err != nil {
			return err
		}
		wait := time.Duration(c.rng.Int64N(int64(2 * between)))
		if c.rng.IntN(5) == 0 {
			wait = 0 // a double click, or nearly
		}
		if !sleep(ctx, wait) {
			return nil
		}
	}
	return nil
}

func (c *loadGenerator) click(n int) (err error) {
	var payload map[string]any
	if len(c.vendors) > 0 && c.rng.IntN(5) < 2 {
		payload = c.vendors[len(c.vendors)-1-c.rng.IntN(min(3, len(c.vendors)))] // one of the last, whose export may be under way
	} else {
		if payload, err = c.cl.sandbox.Sample(c.firm.id, "create_vendor", nil); err != nil {
			return err
		}
		sandbox.Set(payload, "request_data.vendor.origin_code", fmt.Sprintf("CV-%03d", n))
		c.vendors = append(c.vendors, payload)
	}
	name := fmt.Sprintf("Load %03d", n)
	sandbox.Set(payload, "request_data.vendor.name", name)
	sandbox.Set(payload, "request_data.vendor.company", name)
	id, err := c.cl.sandbox.Press(c.firm.id, "create_vendor", payload)
	c.clicks = append(c.clicks, click{id, sandbox.GetID(payload, "request_data.vendor.id"), name})
	return err
}

// superseded is in the message of an export that another one of the same record precluded.
const superseded = "newer request"

// check adds the result of the clicks to v. A click fails only if it says that it was superseded, and it may have been.
// The ERP must hold each vendor once, as the newest successful click exported it.
func (c *loadGenerator) check(ctx context.Context, v *verdict) error {
	requests := map[int64]sandbox.Request{}
	for _, k := range c.clicks {
		r, _ := c.cl.sandbox.Request(k.request)
		c.cl.checkRequest(v, r)
		requests[k.request] = r
	}
	newest := map[int64]click{} // of the successful ones, by vendor
	for _, k := range c.clicks {
		r := requests[k.request]
		var messages []string
		for _, d := range r.Details {
			messages = append(messages, d.Messages...)
		}
		message := strings.Join(messages, " ")
		if r.IsClosed() && r.Outcome() == sandbox.Success {
			newest[k.vendor] = k
		}
		refused := strings.Contains(message, superseded) && mayBeSuperseded(k, c.clicks, requests)
		if r.IsClosed() && r.Outcome() != sandbox.Success && !refused || len(r.TooEarly) > 0 {
			v.wrong = append(v.wrong, fmt.Sprintf("%s, of the load generator: is %q: %s %s; the exports of its vendor were %s",
				describe(r), r.Outcome(), message, strings.Join(r.TooEarly, " "), c.exports(k.vendor)))
		}
	}
	return c.books(ctx, v, newest)
}

// mayBeSuperseded reports whether the vendor of a click has a newer click, or another one of the same whole second: Tieback
// can't order these if the webhook of one was lost (see pkg/order).
func mayBeSuperseded(k click, clicks []click, requests map[int64]sandbox.Request) bool {
	second := requests[k.request].Clicked.Truncate(time.Second)
	return slices.ContainsFunc(clicks, func(other click) bool {
		return other.vendor == k.vendor && other.request != k.request && !requests[other.request].Clicked.Before(second)
	})
}

// books compares the ERP's vendors with the newest successful clicks.
func (c *loadGenerator) books(ctx context.Context, v *verdict, newest map[int64]click) error {
	booked := map[int64]map[string]*tiebackv1.Record{} // by vendor and origin id
	cursor := ""
	for more := true; more; {
		page, err := c.firm.books.List(ctx, &tiebackv1.ListRequest{CompanyId: c.firm.id, Entity: tiebackv1.Entity_ENTITY_VENDOR, Cursor: cursor})
		if err != nil {
			return err
		}
		for _, change := range page.Changes {
			r := change.GetRecord()
			if booked[r.ProcoreId] == nil {
				booked[r.ProcoreId] = map[string]*tiebackv1.Record{}
			}
			if booked[r.ProcoreId][r.OriginId] = r; change.Deleted {
				delete(booked[r.ProcoreId], r.OriginId)
			}
		}
		cursor, more = page.Cursor, page.More
	}
	v.records += len(c.vendors)
	for _, payload := range c.vendors {
		vendor := sandbox.GetID(payload, "request_data.vendor.id")
		name := ""
		for _, r := range booked[vendor] {
			name = r.Name
		}
		k, succeeded := newest[vendor]
		switch got := booked[vendor]; {
		case len(got) > 1:
			v.doubled = append(v.doubled, fmt.Sprintf("vendor %d of company %d is booked %d times", vendor, c.firm.id, len(got)))
		case !succeeded:
			v.wrong = append(v.wrong, fmt.Sprintf("vendor %d of company %d was exported, and no export succeeded; its exports were %s", vendor, c.firm.id, c.exports(vendor)))
		case len(got) == 0:
			v.wrong = append(v.wrong, fmt.Sprintf("vendor %d of company %d was exported by request %d, and is not in the ERP", vendor, c.firm.id, k.request))
		case name != k.name:
			v.wrong = append(v.wrong, fmt.Sprintf("vendor %d of company %d is %q in the ERP; request %d, the newest successful one, has %q; its exports were %s",
				vendor, c.firm.id, name, k.request, k.name, c.exports(vendor)))
		}
	}
	return nil
}

// exports lists the clicks on a vendor with the times that Procore has for them.
func (c *loadGenerator) exports(vendor int64) string {
	var all []string
	for _, k := range c.clicks {
		if k.vendor == vendor {
			r, _ := c.cl.sandbox.Request(k.request)
			all = append(all, fmt.Sprintf("%q at %s (%s)", k.name, r.Clicked.UTC().Format("15:04:05.000000"), r.Outcome()))
		}
	}
	return strings.Join(all, ", ")
}
