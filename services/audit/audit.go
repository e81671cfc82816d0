package audit

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/services/deadline"
)

// Options say what is audited.
type Options struct {
	Since, Until time.Time // by the click: [Since, Until)
	Limits       deadline.Limits
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
	Notes     []string      `json:"notes"`
	Findings  []Finding     `json:"findings"` // all requests, the oldest click first
}

// early is how much earlier than the span the readings begin: Procore's clock and ours differ.
const early = 10 * time.Minute

// Audit audits a company: it reads Procore's deliveries of any outcome and the request details of
// the span, then our streams, and judges every request that either knows of. What happens while it reads is
// no finding: Procore is read first, so that what it shows closed is in the streams already.
//
// It costs a call for the hooks, one for each 1,000 deliveries in Procore's log, and one for each
// 1,000 request details of the span, and one or two more.
func Audit(ctx context.Context, r *Reader, s Streams, o Options) (Report, error) {
	report := Report{Company: r.Company, Since: o.Since, Until: o.Until, Counts: map[Class]int{}, Notes: []string{}, Findings: []Finding{}}
	began := time.Now()
	r.Since = o.Since.Add(-early)
	all := map[int64]*facts{}
	if err := r.known(ctx, began, o.Limits, all); err != nil {
		return report, err
	}
	traces, err := s.Since(ctx, r.Company, r.Since)
	if err != nil {
		return report, err
	}
	for request, t := range traces {
		factsOf(all, request, began, o.Limits).trace = t
	}
	if err := s.holds(ctx, o, began, &report); err != nil {
		return report, err
	}
	report.Calls = r.Calls()
	report.Notes = append(report.Notes, r.Odd...)
	return report, s.sum(ctx, all, &report)
}

func factsOf(all map[int64]*facts, request int64, now time.Time, limits deadline.Limits) *facts {
	if all[request] == nil {
		all[request] = &facts{now: now, limits: limits}
	}
	return all[request]
}

// known reads all that Procore knows of the span.
func (r *Reader) known(ctx context.Context, now time.Time, limits deadline.Limits, all map[int64]*facts) error {
	hooks, err := r.Hooks(ctx)
	if err != nil {
		return err
	}
	for _, hook := range hooks {
		_, err := r.Deliveries(ctx, hook, LogAny, DeliveryMark{}, func(some []Logged) error {
			for _, d := range some {
				f := factsOf(all, d.ErpRequestId, now, limits)
				f.logged, f.occurred = cmp.Or(d.Outcome, "not tried yet"), d.OccurredAt.AsTime()
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	_, err = r.Details(ctx, DetailMark{}, 0, func(some []Detail) error {
		for _, d := range some {
			if d.Request != 0 {
				f := factsOf(all, d.Request, now, limits)
				f.details = append(f.details, d)
			}
		}
		return nil
	})
	return err
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
			var err error
			if found.Attempts, err = s.Bus.State().Attempts(ctx, streamOf(found.Stage), found.Stage, found.at.Sequence); err != nil {
				return err
			}
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
