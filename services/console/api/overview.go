package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/pkg/telemetry"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/index"
	"github.com/tieback/tieback/services/console/operator/status"
)

// statusOptions returns the options of the reports.
func statusOptions(a *tenant.App) status.Options {
	o := status.Options{
		Companies: map[int64]string{}, Clients: map[int64]*company.Client{}, Deadlines: deadlines(a), InvalidEntries: a.Unserved,
		Quota: a.Quota, Window: window,
	}
	for id, c := range a.Companies {
		o.Companies[id], o.Clients[id] = c.Name, c.Client
	}
	return o
}

// window is the time over which rates and results are counted.
const window = 5 * time.Minute

func deadlines(a *tenant.App) request.Deadlines {
	return request.Deadlines{Interactive: a.Settings.Deadline, Sync: a.Settings.SyncDeadline}
}

// GetOverview implements OverviewService.
func (a *API) GetOverview(ctx context.Context, r *operatorv1.GetOverviewRequest) (*operatorv1.GetOverviewResponse, error) {
	o, err := a.overview(ctx, r.CompanyIds)
	return &operatorv1.GetOverviewResponse{Overview: o}, err
}

// WatchOverview implements OverviewService.
func (a *API) WatchOverview(ctx context.Context, r *operatorv1.WatchOverviewRequest, out *connect.ServerStream[operatorv1.WatchOverviewResponse]) error {
	every := 2 * time.Second
	if r.Every != nil {
		every = max(r.Every.AsDuration(), time.Second)
	}
	for {
		o, err := a.overview(ctx, r.CompanyIds)
		if err == nil {
			err = out.Send(&operatorv1.WatchOverviewResponse{Overview: o})
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

// overview returns the overview of the companies that were asked for and that the caller may see.
func (a *API) overview(ctx context.Context, asked []int64) (*operatorv1.Overview, error) {
	ids, all, err := a.visible(ctx, asked)
	if err != nil {
		return nil, err
	}
	seen := func(id int64) bool { return all || id != 0 && slices.Contains(ids, id) }
	report, err := a.report(ctx)
	if err != nil {
		return nil, err
	}
	o := &operatorv1.Overview{At: at(report.At), Window: durationpb.New(window), Notes: report.Notes, Unread: report.Unread, Version: telemetry.Version}
	pauses, err := a.state.Pauses(ctx)
	if err != nil {
		o.Unread = append(o.Unread, "the pauses: "+err.Error())
	}
	for _, n := range report.Attention {
		if n.Kind == status.KindDeadLetters && !all {
			n = unresolved(report.Companies, seen)
			if n.Count == 0 {
				continue
			}
		}
		if n.Company == 0 || seen(n.Company) || all {
			o.Attention = append(o.Attention, &operatorv1.Attention{Kind: n.Kind, CompanyId: n.Company, Stage: n.Stage, Text: n.Text, Action: n.Action, Since: at(n.Since), Count: n.Count})
		}
	}
	for _, q := range report.Queues {
		o.Queues = append(o.Queues, queueOf(q, seen))
	}
	for _, c := range report.Companies {
		if seen(c.ID) {
			o.Companies = append(o.Companies, companyOf(c, pauses))
		}
	}
	for _, p := range pauses {
		if seen(p.Company) {
			o.Attention = append(o.Attention, pausedAttention(p))
		}
	}
	if a.index != nil {
		if all {
			ids = nil
		}
		if err := a.addSeries(ctx, o, ids); err != nil {
			o.Unread = append(o.Unread, "the index: "+err.Error())
		}
	}
	return o, nil
}

// unresolved counts the dead letters of the companies that are seen.
func unresolved(companies []status.Company, seen func(int64) bool) status.Attention {
	n := status.Attention{Kind: status.KindDeadLetters, Action: "tieback dead list"}
	for _, c := range companies {
		if seen(c.ID) {
			n.Count += uint64(c.DeadLetters) //nolint:gosec // a count
		}
	}
	n.Text = fmt.Sprintf("%d dead letters are unresolved", n.Count)
	return n
}

// report reads a report. Reports are read one at a time, as each continues the count of the last one.
func (a *API) report(ctx context.Context) (status.Report, error) {
	a.looks.Lock()
	defer a.looks.Unlock()
	return a.reader.Read(ctx)
}

func pausedAttention(p state.Pause) *operatorv1.Attention {
	text, action := "the company is paused", "resume it when the reason has ended"
	if p.Stage != "" {
		text = "the stage " + p.Stage + " of the company is paused"
	}
	return &operatorv1.Attention{Kind: "paused", CompanyId: p.Company, Stage: p.Stage, Text: text + " by " + p.Who + ": " + p.Reason, Action: action, Since: at(p.At)}
}

func queueOf(q status.Queue, seen func(int64) bool) *operatorv1.Queue {
	out := &operatorv1.Queue{
		Stage: q.Stage, Known: q.Known, Created: q.Created, Waiting: q.Waiting, InFlight: uint64(q.InFlight), Redelivered: uint64(q.Redelivered), //nolint:gosec // counts
		Consumed: q.Consumed, OldestAge: seconds(q.OldestAge), ArrivedPerMinute: q.Arrived, FinishedPerMinute: q.Finished,
	}
	if q.Oldest != nil && seen(q.Oldest.Company) {
		out.Oldest = refOf(*q.Oldest)
	}
	if q.Overdue != nil && seen(q.Overdue.Company) {
		out.Overdue = refOf(q.Overdue.RequestRef)
	}
	return out
}

func refOf(r status.RequestRef) *operatorv1.RequestRef {
	return &operatorv1.RequestRef{CompanyId: r.Company, RequestId: r.Request, Type: r.Type}
}

func companyOf(c status.Company, pauses []state.Pause) *operatorv1.CompanyState {
	out := &operatorv1.CompanyState{
		Id: c.ID, Name: c.Name, Open: uint64(c.Open), AtLeast: c.AtLeast, OldestAge: seconds(c.OldestAge), Retrying: uint64(c.Retrying), LastFailure: c.LastFailure, //nolint:gosec // counts
		Succeeded: uint64(c.Succeeded), Failed: uint64(c.Failed), DeadLetters: uint64(c.DeadLetters), Client: c.Client, //nolint:gosec // counts
	}
	if c.Quota != nil {
		out.Quota = &operatorv1.Quota{Hour: rateOf(c.Quota.Hour), Spike: rateOf(c.Quota.Spike), BlockedUntil: atOf(c.Quota.Blocked)}
	}
	for _, t := range c.Troubles {
		out.Troubles = append(out.Troubles, &operatorv1.Trouble{Source: string(t.Source), Reason: string(t.Reason), Class: t.Class, Since: at(t.Since), Last: at(t.Last), Error: t.Error})
	}
	for _, p := range pauses {
		if p.Company == c.ID {
			out.Paused = append(out.Paused, &operatorv1.PausedStage{Stage: p.Stage, Who: p.Who, At: at(p.At), Reason: p.Reason})
		}
	}
	out.WaitingFor = waitingFor(out)
	return out
}

func rateOf(w *status.RateWindow) *operatorv1.RateWindow {
	if w == nil {
		return nil
	}
	return &operatorv1.RateWindow{Limit: int64(w.Limit), Remaining: int64(w.Remaining), Reset_: atOf(w.Reset)}
}

// waitingFor says what the open requests of a company wait for.
func waitingFor(c *operatorv1.CompanyState) string {
	switch {
	case len(c.Paused) > 0:
		return "person"
	case c.Quota.GetBlockedUntil() != nil && c.Quota.BlockedUntil.AsTime().After(time.Now()):
		return "quota"
	}
	for _, t := range c.Troubles {
		if t.Source != "" {
			return t.Source
		}
	}
	return ""
}

// addSeries adds the last hour to an overview; ids nil: of all companies.
func (a *API) addSeries(ctx context.Context, o *operatorv1.Overview, ids []int64) error {
	counts, err := a.index.Counts(ctx, ids)
	if err != nil || len(counts.Series) == 0 {
		return err
	}
	series := func(name string, n func(index.Minute) int64) *operatorv1.Series {
		s := &operatorv1.Series{Name: name, Start: at(counts.Series[0].At)}
		for _, m := range counts.Series {
			s.Counts = append(s.Counts, uint32(max(0, n(m)))) //nolint:gosec // a count of a minute
		}
		return s
	}
	o.Series = []*operatorv1.Series{
		series("received", func(m index.Minute) int64 { return m.Received }),
		series("succeeded", func(m index.Minute) int64 { return m.Closed - m.Failed }),
		series("failed", func(m index.Minute) int64 { return m.Failed }),
	}
	return nil
}

// ListCompanies implements CompanyService.
func (a *API) ListCompanies(ctx context.Context, _ *operatorv1.ListCompaniesRequest) (*operatorv1.ListCompaniesResponse, error) {
	o, err := a.overview(ctx, nil)
	if err != nil {
		return nil, err
	}
	return &operatorv1.ListCompaniesResponse{Companies: o.Companies}, nil
}

// company returns the state of one company.
func (a *API) company(ctx context.Context, id int64) (*operatorv1.CompanyState, error) {
	o, err := a.overview(ctx, []int64{id})
	if err != nil {
		return nil, err
	}
	for _, c := range o.Companies {
		if c.Id == id {
			return c, nil
		}
	}
	return nil, connect.NewError(connect.CodeNotFound, errors.New("the broker and the companies file have no such company"))
}
