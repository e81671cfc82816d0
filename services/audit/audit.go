// Package audit holds what Procore knows of a company's ERP requests against what the pipeline's streams hold of
// them, and says of each request how it ended. It changes nothing.
package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore/delivery"
	"github.com/tieback/tieback/pkg/procore/erplog"
	"github.com/tieback/tieback/services/deadline"
)

// Options say what is audited.
type Options struct {
	Since, Until time.Time // by the click: [Since, Until)
	Limits       deadline.Limits
	Ours         *company.Company // whose Since says which requests are ours; nil: all are
}

// Report is what an audit found.
type Report struct {
	Company   int64         `json:"company_id"`
	Since     time.Time     `json:"since"`
	Until     time.Time     `json:"until"`
	Accounted bool          `json:"accounted_for"`
	Requests  int           `json:"erp_requests"`
	Counts    map[Class]int `json:"counts"`
	Unlisted  int           `json:"unlisted"` // requests of ours that Procore does not list any more, or not yet
	Calls     int           `json:"procore_calls"`
	Losses    []bus.Loss    `json:"losses"` // what the streams have lost of what they acknowledged, of all companies
	Notes     []string      `json:"notes"`
	Findings  []Finding     `json:"findings"` // all requests, the oldest click first
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
func Audit(ctx context.Context, r *erplog.Reader, s Streams, o Options) (Report, error) {
	report := Report{Company: r.Company, Since: o.Since, Until: o.Until, Counts: map[Class]int{}, Losses: []bus.Loss{}, Notes: []string{}, Findings: []Finding{}}
	began := time.Now()
	r.Since = o.Since.Add(-early)
	all := map[int64]*facts{}
	orphans, err := known(ctx, r, began, o.Limits, all)
	if err != nil {
		return report, err
	}
	traces, err := s.Since(ctx, r.Company, r.Since)
	if err != nil {
		return report, err
	}
	for request, t := range traces {
		factsOf(all, request, began, o.Limits).trace = t
	}
	for _, f := range all {
		f.ours = o.Ours
	}
	orphans = adopt(all, orphans)
	if err := s.lostLetters(ctx, r.Company, all, began); err != nil {
		return report, err
	}
	if err := s.holds(ctx, o, began, &report); err != nil {
		return report, err
	}
	report.Calls = r.Calls()
	report.Notes = append(report.Notes, r.Odd...)
	if err := s.sum(ctx, all, &report); err != nil {
		return report, err
	}
	report.unread(r, orphans)
	return report, s.lost(ctx, &report)
}

// lostLetters marks the requests whose dead letter is gone. A letter may be older than the span, so that each of these requests is
// read whole.
func (s Streams) lostLetters(ctx context.Context, company int64, all map[int64]*facts, now time.Time) error {
	var some []int64
	for request, f := range all {
		if f.trace != nil && f.trace.lostLetter(now) {
			some = append(some, request)
		}
	}
	traces, err := s.Of(ctx, company, some)
	for request, t := range traces {
		all[request].lost = t.lostLetter(now)
	}
	return err
}

// lost: what a stream has lost can't be judged, so that nothing is proved.
func (s Streams) lost(ctx context.Context, report *Report) error {
	gaps, err := s.Bus.Gaps(ctx, bus.Dead, bus.Dealt) // of the others a request shows what is gone: it is not closed
	if err != nil {
		return err
	}
	losses, err := s.Bus.Losses(ctx, gaps...)
	if err != nil {
		return err
	}
	report.Losses = append(report.Losses, losses...)
	report.Accounted = report.Accounted && len(losses) == 0
	return nil
}

// unread: what can't be read proves nothing, so that nothing is proved.
func (report *Report) unread(r *erplog.Reader, orphans []erplog.Detail) {
	if len(r.Odd) > 0 {
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
func adopt(all map[int64]*facts, orphans []erplog.Detail) (open []erplog.Detail) {
	told := map[int64]*facts{}
	for _, f := range all {
		if f.trace == nil {
			continue
		}
		for _, r := range f.trace.Runs {
			for _, c := range r.Told {
				told[c.RequestDetailId] = f
			}
		}
	}
	for _, d := range orphans {
		switch f := told[d.ID]; {
		case f != nil:
			f.details = append(f.details, d)
		case d.Open():
			open = append(open, d)
		}
	}
	return open
}

func factsOf(all map[int64]*facts, request int64, now time.Time, limits deadline.Limits) *facts {
	if all[request] == nil {
		all[request] = &facts{now: now, limits: limits}
	}
	return all[request]
}

// known reads all that Procore knows of the span. Request details that name no request are given back.
func known(ctx context.Context, r *erplog.Reader, now time.Time, limits deadline.Limits, all map[int64]*facts) (orphans []erplog.Detail, err error) {
	hooks, err := r.Hooks(ctx)
	if err != nil {
		return nil, err
	}
	for _, hook := range hooks {
		_, err := r.Deliveries(ctx, hook, erplog.LogAny, erplog.DeliveryMark{}, func(some []erplog.Logged) error {
			for _, d := range some {
				f := factsOf(all, d.ErpRequestId, now, limits)
				if f.logged != "ok" && f.logged != "discarded" { // an earlier attempt's line may come later
					f.logged = cmp.Or(d.Outcome, "not tried yet")
				}
				f.occurred = delivery.Occurred(d.Delivery)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	_, err = r.Details(ctx, erplog.DetailMark{}, 0, func(some []erplog.Detail) error {
		for _, d := range some {
			if d.Request == 0 {
				orphans = append(orphans, d)
				continue
			}
			f := factsOf(all, d.Request, now, limits)
			f.details = append(f.details, d)
		}
		return nil
	})
	return orphans, err
}

// holds notes where our streams do not reach back to the span's start.
func (s Streams) holds(ctx context.Context, o Options, now time.Time, report *Report) error {
	kept, err := s.Bus.Kept(ctx, bus.Delivery)
	if err == nil && kept > 0 && o.Since.Before(now.Add(-kept)) {
		report.Notes = append(report.Notes, "the pipeline's streams keep "+kept.String()+
			": of what was clicked before "+now.Add(-kept).UTC().Format(time.RFC3339)+" only Procore's own word is left")
	}
	return err
}

// sum judges all requests of the span.
func (s Streams) sum(ctx context.Context, all map[int64]*facts, report *Report) error {
	report.Accounted = true
	for request, f := range all {
		found := judge(request, *f)
		if found.Clicked.Before(report.Since) || !found.Clicked.Before(report.Until) {
			continue
		}
		if found.Stage != "" {
			attempts, err := s.Bus.Attempts(ctx, bus.AttemptKey{Stream: streamOf(found.Stage), Consumer: found.Stage, Sequence: found.at.Sequence})
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
