// Package audit implements `tieback audit`, which compares the ERP requests that Procore lists with what the streams
// hold and reports how each request ended, and `tieback sweep`, which fetches requests that never arrived. An audit
// changes nothing.
package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/delivery"
	"github.com/tieback/tieback/pkg/procore/erplog"
	"github.com/tieback/tieback/pkg/request"
)

// Options say what is audited.
type Options struct {
	Since, Until time.Time // by the click: [Since, Until)
	Rules        request.Rules
}

// Report is what an audit found.
type Report struct {
	Company   int64                 `json:"company_id"`
	Since     time.Time             `json:"since"`
	Until     time.Time             `json:"until"`
	Accounted bool                  `json:"accounted_for"`
	Requests  int                   `json:"erp_requests"`
	Counts    map[request.Class]int `json:"counts"`
	Unlisted  int                   `json:"unlisted"` // requests of ours that Procore does not list any more, or not yet
	Calls     int                   `json:"procore_calls"`
	Losses    []bus.Loss            `json:"losses"` // what the streams have lost of what they acknowledged, of all companies
	Notes     []string              `json:"notes"`
	Findings  []Finding             `json:"findings"` // all requests, the oldest click first
}

// Finding is what an audit says of a request.
type Finding struct {
	Request  int64         `json:"erp_request_id"`
	Type     string        `json:"type"` // "_": not known
	Class    request.Class `json:"class"`
	Clicked  time.Time     `json:"clicked_at"`
	Stage    string        `json:"stage,omitempty"`    // of a request at work: the stop it is at
	Age      string        `json:"age,omitempty"`      // since it came to that stop
	Attempts int           `json:"attempts,omitempty"` // there
	Open     []int64       `json:"open_request_details,omitempty"`
	Listed   bool          `json:"listed"` // Procore lists it: a delivery, or a request detail
	Why      string        `json:"why,omitempty"`
}

// facts are all that is known of a request.
type facts struct {
	timeline *request.Timeline // nil: our streams hold nothing
	procore  request.Procore
}

// maxOdd is how many request details without an ERP request a report names.
const maxOdd = 10

// early is how much earlier than the span the readings begin: Procore's clock and ours differ.
const early = 10 * time.Minute

// Audit audits a company: it reads Procore's deliveries of any outcome and the request details of
// the span, then our streams, and judges every request that either knows of. What happens while it reads is
// no finding: Procore is read first, so that what it shows closed is in the streams already.
//
// It costs a call for the hooks, one for each 1,000 deliveries in Procore's log, and one for each
// 1,000 request details of the span, and one or two more.
func Audit(ctx context.Context, r *erplog.Reader, b *bus.Bus, o Options) (Report, error) {
	report := Report{Company: r.Company, Since: o.Since, Until: o.Until, Counts: map[request.Class]int{}, Losses: []bus.Loss{}, Notes: []string{}, Findings: []Finding{}}
	began := time.Now()
	r.Since = o.Since.Add(-early)
	all := map[int64]*facts{}
	orphans, err := known(ctx, r, all)
	if err != nil {
		return report, err
	}
	timelines, err := request.ReadSince(ctx, b, r.Company, r.Since)
	if err != nil {
		return report, err
	}
	for id, t := range timelines {
		factsOf(all, id).timeline = t
	}
	orphans = adopt(all, orphans)
	if err := holds(ctx, b, o, began, &report); err != nil {
		return report, err
	}
	report.Calls = r.Calls()
	report.Notes = append(report.Notes, r.Malformed...)
	if err := report.sum(ctx, b, o.Rules, all, began); err != nil {
		return report, err
	}
	report.unread(r, orphans)
	return report, report.lost(ctx, b)
}

// lost: what a stream has lost can't be judged, so that nothing is proved.
func (report *Report) lost(ctx context.Context, b *bus.Bus) error {
	gaps, err := b.Gaps(ctx, bus.Dead, bus.Resolution) // of the others a request shows what is gone: it is not closed
	if err != nil {
		return err
	}
	losses, err := b.Losses(ctx, gaps...)
	if err != nil {
		return err
	}
	report.Losses = append(report.Losses, losses...)
	report.Accounted = report.Accounted && len(losses) == 0
	return nil
}

// unread: what can't be read proves nothing, so that nothing is proved.
func (report *Report) unread(r *erplog.Reader, orphans []procore.Detail) {
	if len(r.Malformed) > 0 {
		report.Accounted = false
	}
	for i, d := range orphans {
		report.Accounted = false
		if i < maxOdd {
			report.Notes = append(report.Notes, fmt.Sprintf("request detail %d is open in Procore and names no ERP request: nobody can say whose it is", d.ID))
		}
	}
	if n := len(orphans) - maxOdd; n > 0 {
		report.Notes = append(report.Notes, fmt.Sprintf("and %d more request details like these", n))
	}
}

// adopt gives details that name no request to the request that told them. It returns those that
// nobody told and that are open.
func adopt(all map[int64]*facts, orphans []procore.Detail) (open []procore.Detail) {
	told := map[int64]*facts{}
	for _, f := range all {
		if f.timeline == nil {
			continue
		}
		for _, r := range f.timeline.Reports {
			for _, c := range r.CloseOuts {
				told[c.RequestDetailId] = f
			}
		}
	}
	for _, d := range orphans {
		switch f := told[d.ID]; {
		case f != nil:
			f.procore.Details = append(f.procore.Details, d)
		case d.Open():
			open = append(open, d)
		}
	}
	return open
}

func factsOf(all map[int64]*facts, id int64) *facts {
	if all[id] == nil {
		all[id] = &facts{}
	}
	return all[id]
}

// known reads all that Procore knows of the span. Request details that name no request are given back.
func known(ctx context.Context, r *erplog.Reader, all map[int64]*facts) (orphans []procore.Detail, err error) {
	hooks, err := r.Hooks(ctx)
	if err != nil {
		return nil, err
	}
	for _, hook := range hooks {
		_, err := r.Deliveries(ctx, hook, erplog.LogAny, erplog.DeliveryMark{}, func(some []erplog.Logged) error {
			for _, d := range some {
				p := &factsOf(all, d.ErpRequestId).procore
				if p.Logged != "ok" && p.Logged != "discarded" { // an earlier attempt's line may come later
					p.Logged = cmp.Or(d.Outcome, "not tried yet")
				}
				p.Occurred = delivery.Occurred(d.Delivery)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	_, err = r.Details(ctx, erplog.DetailMark{}, 0, func(some []procore.Detail) error {
		for _, d := range some {
			if d.Request == 0 {
				orphans = append(orphans, d)
				continue
			}
			p := &factsOf(all, d.Request).procore
			p.Details = append(p.Details, d)
		}
		return nil
	})
	return orphans, err
}

// holds notes where our streams do not reach back to the span's start.
func holds(ctx context.Context, b *bus.Bus, o Options, now time.Time, report *Report) error {
	kept, err := b.Retention(ctx, bus.Delivery)
	if err == nil && kept > 0 && o.Since.Before(now.Add(-kept)) {
		report.Notes = append(report.Notes, "the pipeline's streams keep "+kept.String()+
			": of what was clicked before "+now.Add(-kept).UTC().Format(time.RFC3339)+" only Procore's own word is left")
	}
	return err
}

// sum judges all requests of the span, as of now.
func (report *Report) sum(ctx context.Context, b *bus.Bus, rules request.Rules, all map[int64]*facts, now time.Time) error {
	report.Accounted = true
	for id, f := range all {
		found := Finding{Request: id, Type: "_", Clicked: f.timeline.CreatedBy(f.procore), Listed: f.procore.Logged != "" || len(f.procore.Details) > 0}
		if found.Clicked.Before(report.Since) || !found.Clicked.Before(report.Until) {
			continue
		}
		v := f.timeline.Verdict(rules, f.procore, now)
		if f.timeline != nil {
			found.Type = f.timeline.Type
		}
		found.Class, found.Open, found.Why, found.Stage = v.Class, v.Open, v.Why, v.At.Name
		if found.Stage != "" {
			found.Age = max(0, now.Sub(v.At.At)).Round(time.Second).String()
			attempts, err := b.Attempts(ctx, bus.AttemptKey{Stream: v.At.Kind.Stream(), Consumer: found.Stage, Sequence: v.At.Sequence})
			if err != nil {
				return err
			}
			found.Attempts = attempts.Count()
		}
		report.Requests++
		report.Counts[found.Class]++
		report.Accounted = report.Accounted && found.Class.Accounted()
		if !found.Listed {
			report.Unlisted++
		}
		report.Findings = append(report.Findings, found)
	}
	slices.SortFunc(report.Findings, func(a, b Finding) int {
		return cmp.Or(a.Clicked.Compare(b.Clicked), cmp.Compare(a.Request, b.Request))
	})
	return nil
}
