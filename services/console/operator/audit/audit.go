// Package audit is the reconciliation that reports: it compares the ERP requests that Procore lists with what the streams
// have, and reports how each request ended. It changes nothing.
package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/delivery"
	"github.com/tieback/tieback/pkg/procore/erplog"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// Options say which requests are audited, and by which rules.
type Options struct {
	Since, Until time.Time // requests that Procore created at or after Since and before Until
	Rules        request.Rules
}

// report is an audit while it is read.
type report struct{ *operatorv1.AuditResponse }

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
func Read(ctx context.Context, r *erplog.Reader, b *bus.Bus, o Options) (*operatorv1.AuditResponse, error) {
	a := report{&operatorv1.AuditResponse{CompanyId: r.Company, Since: timestamppb.New(o.Since), Until: timestamppb.New(o.Until), Counts: map[string]int32{}}}
	began := time.Now()
	r.Since = o.Since.Add(-early)
	all := map[int64]*facts{}
	orphans, err := readProcore(ctx, r, all)
	if err != nil {
		return nil, err
	}
	timelines, err := request.ReadSince(ctx, b, r.Company, r.Since)
	if err != nil {
		return nil, err
	}
	for id, t := range timelines {
		factsOf(all, id).timeline = t
	}
	orphans = assign(all, orphans)
	if err := a.noteRetention(ctx, b, o, began); err != nil {
		return nil, err
	}
	a.ProcoreCalls = int32(r.Calls()) //nolint:gosec // a small number
	a.Notes = append(a.Notes, r.Malformed...)
	if err := a.judge(ctx, b, o, all, began); err != nil {
		return nil, err
	}
	a.checkUnread(r.Malformed, orphans)
	return a.AuditResponse, a.readLosses(ctx, b)
}

// readLosses adds the losses of the streams. With a loss, the requests are not accounted for.
func (a report) readLosses(ctx context.Context, b *bus.Bus) error {
	gaps, err := b.Gaps(ctx, bus.Dead, bus.Resolution) // a gap in another stream shows in its request, which is not closed
	if err != nil {
		return err
	}
	losses, err := b.Losses(ctx, gaps...)
	if err != nil {
		return err
	}
	for _, l := range losses {
		a.AccountedFor = false
		a.Losses = append(a.Losses, l.String())
	}
	return nil
}

// checkUnread adds a note for each open request detail without an ERP request. With one, or with malformed entries of
// Procore's lists, the requests are not accounted for.
func (a report) checkUnread(malformed []string, orphans []procore.Detail) {
	if len(malformed) > 0 {
		a.AccountedFor = false
	}
	for i, d := range orphans {
		a.AccountedFor = false
		if i < maxOrphans {
			a.Notes = append(a.Notes, fmt.Sprintf("request detail %d is open in Procore and names no ERP request", d.ID))
		}
	}
	if n := len(orphans) - maxOrphans; n > 0 {
		a.Notes = append(a.Notes, fmt.Sprintf("and %d more request details like these", n))
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
func (a report) noteRetention(ctx context.Context, b *bus.Bus, o Options, now time.Time) error {
	kept, err := b.Retention(ctx, bus.Delivery)
	if err == nil && kept > 0 && o.Since.Before(now.Add(-kept)) {
		a.Notes = append(a.Notes, "the streams keep messages for "+kept.String()+
			": requests that were created before "+now.Add(-kept).UTC().Format(time.RFC3339)+" are judged by Procore's lists alone")
	}
	return err
}

// judge adds a finding for each request of the span, as of now.
func (a report) judge(ctx context.Context, b *bus.Bus, o Options, all map[int64]*facts, now time.Time) error {
	a.AccountedFor = true
	for id, f := range all {
		created := f.timeline.CreatedAt(f.procore)
		if created.Before(o.Since) || !created.Before(o.Until) {
			continue
		}
		v := f.timeline.Verdict(o.Rules, f.procore, now)
		found := &operatorv1.AuditFinding{
			RequestId: id, Type: "_", Class: string(v.Class), AccountedFor: !v.Class.NeedsAction(), Created: timestamppb.New(created), OpenRequestDetails: v.Open, Why: v.Why,
			Stage: v.At.Name, Listed: f.procore.DeliveryOutcome != "" || len(f.procore.Details) > 0,
		}
		if f.timeline != nil {
			found.Type = f.timeline.Type
		}
		if found.Stage != "" {
			found.Age = durationpb.New(max(0, now.Sub(v.At.At)))
			attempts, err := b.Attempts(ctx, bus.AttemptKey{Stream: v.At.Kind.Stream(), Consumer: found.Stage, Sequence: v.At.Sequence})
			if err != nil {
				return err
			}
			found.Attempts = int32(attempts.Count()) //nolint:gosec // a small number
		}
		a.Requests++
		a.Counts[found.Class]++
		a.AccountedFor = a.AccountedFor && found.AccountedFor
		if !found.Listed {
			a.Unlisted++
		}
		a.Findings = append(a.Findings, found)
	}
	slices.SortFunc(a.Findings, func(a, b *operatorv1.AuditFinding) int {
		return cmp.Or(a.Created.AsTime().Compare(b.Created.AsTime()), cmp.Compare(a.RequestId, b.RequestId))
	})
	return nil
}
