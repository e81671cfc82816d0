// Package audit is the reconciliation that reports: it compares the ERP requests that Procore lists with what the streams
// hold, and says of each request how it ended. It changes nothing.
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

// Options say which requests are audited, and by which rules.
type Options struct {
	Since, Until time.Time // requests that Procore created at or after Since and before Until
	Rules        request.Rules
}

// Report is the result of an audit.
type Report struct {
	Company   int64                 `json:"company_id"`
	Since     time.Time             `json:"since"`
	Until     time.Time             `json:"until"`
	Accounted bool                  `json:"accounted_for"` // all requests need no action, and everything could be read
	Requests  int                   `json:"requests"`
	Counts    map[request.Class]int `json:"counts"`
	Unlisted  int                   `json:"unlisted"` // requests in the streams that Procore does not list any more, or not yet
	Calls     int                   `json:"procore_calls"`
	Losses    []bus.Loss            `json:"losses"` // acknowledged messages that the streams no longer have, of all companies
	Notes     []string              `json:"notes"`
	Findings  []Finding             `json:"findings"` // the oldest click first
}

// Finding is the state of one request.
type Finding struct {
	Request  int64         `json:"request_id"`
	Type     string        `json:"type"` // "_" if not known
	Class    request.Class `json:"class"`
	Clicked  time.Time     `json:"clicked_at"`
	Stage    string        `json:"stage,omitempty"`    // of a request in progress
	Age      string        `json:"age,omitempty"`      // since it reached that stage
	Attempts int           `json:"attempts,omitempty"` // at that stage
	Open     []int64       `json:"open_request_details,omitempty"`
	Listed   bool          `json:"listed"` // Procore lists a delivery or a request detail of it
	Why      string        `json:"why,omitempty"`
}

// facts are what is known of a request.
type facts struct {
	timeline *request.Timeline // nil: the streams hold nothing of it
	procore  request.ProcoreLists
}

// maxOrphans is the largest number of request details without an ERP request that a report lists.
const maxOrphans = 10

// early is how long before the span reading begins, because Procore's clock and ours differ.
const early = 10 * time.Minute

// Read audits a company. It reads Procore's deliveries and request details of the span, then the streams, and reports every
// request that is in one of them. Procore is read first: a request that Procore shows as closed is then in the streams.
//
// It makes one call for the webhooks, one for each 1,000 deliveries in Procore's log and each 1,000 request details of the
// span, and one or two more.
func Read(ctx context.Context, r *erplog.Reader, b *bus.Bus, o Options) (Report, error) {
	report := Report{Company: r.Company, Since: o.Since, Until: o.Until, Counts: map[request.Class]int{}, Losses: []bus.Loss{}, Notes: []string{}, Findings: []Finding{}}
	began := time.Now()
	r.Since = o.Since.Add(-early)
	all := map[int64]*facts{}
	orphans, err := readProcore(ctx, r, all)
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
	orphans = assign(all, orphans)
	if err := noteRetention(ctx, b, o, began, &report); err != nil {
		return report, err
	}
	report.Calls = r.Calls()
	report.Notes = append(report.Notes, r.Malformed...)
	if err := report.judge(ctx, b, o.Rules, all, began); err != nil {
		return report, err
	}
	report.checkUnread(r.Malformed, orphans)
	return report, report.readLosses(ctx, b)
}

// readLosses adds the losses of the streams. With a loss, the requests are not accounted for.
func (report *Report) readLosses(ctx context.Context, b *bus.Bus) error {
	gaps, err := b.Gaps(ctx, bus.Dead, bus.Resolution) // a gap in another stream shows in its request, which is not closed
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

// checkUnread adds a note for each open request detail without an ERP request. With one, or with malformed entries of
// Procore's lists, the requests are not accounted for.
func (report *Report) checkUnread(malformed []string, orphans []procore.Detail) {
	if len(malformed) > 0 {
		report.Accounted = false
	}
	for i, d := range orphans {
		report.Accounted = false
		if i < maxOrphans {
			report.Notes = append(report.Notes, fmt.Sprintf("request detail %d is open in Procore and names no ERP request", d.ID))
		}
	}
	if n := len(orphans) - maxOrphans; n > 0 {
		report.Notes = append(report.Notes, fmt.Sprintf("and %d more request details like these", n))
	}
}

// assign adds request details without an ERP request to the requests whose close-outs name them. It returns the open ones
// that no close-out names.
func assign(all map[int64]*facts, orphans []procore.Detail) (open []procore.Detail) {
	reported := map[int64]*facts{}
	for _, f := range all {
		if f.timeline == nil {
			continue
		}
		for _, r := range f.timeline.Reports {
			for _, c := range r.CloseOuts {
				reported[c.RequestDetailId] = f
			}
		}
	}
	for _, d := range orphans {
		switch f := reported[d.ID]; {
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

// readProcore reads Procore's lists. It returns the request details that name no ERP request.
func readProcore(ctx context.Context, r *erplog.Reader, all map[int64]*facts) (orphans []procore.Detail, err error) {
	hooks, err := r.Hooks(ctx)
	if err != nil {
		return nil, err
	}
	for _, hook := range hooks {
		_, err := r.Deliveries(ctx, hook, erplog.LogAny, erplog.DeliveryMark{}, func(some []erplog.Logged) error {
			for _, d := range some {
				p := &factsOf(all, d.ErpRequestId).procore
				if p.DeliveryOutcome != "ok" && p.DeliveryOutcome != "discarded" { // the entry of an earlier attempt may come later
					p.DeliveryOutcome = cmp.Or(d.Outcome, "not attempted yet")
				}
				p.DeliveryTime = delivery.Occurred(d.Delivery)
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

// noteRetention adds a note if the span begins before the retention of the streams.
func noteRetention(ctx context.Context, b *bus.Bus, o Options, now time.Time, report *Report) error {
	kept, err := b.Retention(ctx, bus.Delivery)
	if err == nil && kept > 0 && o.Since.Before(now.Add(-kept)) {
		report.Notes = append(report.Notes, "the streams keep messages for "+kept.String()+
			": requests that were clicked before "+now.Add(-kept).UTC().Format(time.RFC3339)+" are judged by Procore's lists alone")
	}
	return err
}

// judge adds a finding for each request of the span, as of now.
func (report *Report) judge(ctx context.Context, b *bus.Bus, rules request.Rules, all map[int64]*facts, now time.Time) error {
	report.Accounted = true
	for id, f := range all {
		found := Finding{Request: id, Type: "_", Clicked: f.timeline.CreatedAt(f.procore), Listed: f.procore.DeliveryOutcome != "" || len(f.procore.Details) > 0}
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
		report.Accounted = report.Accounted && !found.Class.NeedsAction()
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
