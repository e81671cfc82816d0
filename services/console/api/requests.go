package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/access"
	"github.com/tieback/tieback/services/console/index"
	"github.com/tieback/tieback/services/console/operator/trace"
)

// states are the API's names of the index's states.
var states = map[index.State]string{
	index.StateAttention: "attention", index.StateFailed: "failed", index.StateOpen: "open", index.StateOK: "succeeded", index.StateIgnored: "ignored",
}

var errNoIndex = connect.NewError(connect.CodeUnimplemented, errors.New("this process keeps no index, so requests can be looked up by their id only; the service console and tieback run keep one"))

// ListRequests implements RequestService.
func (a *API) ListRequests(ctx context.Context, r *operatorv1.ListRequestsRequest) (*operatorv1.ListRequestsResponse, error) {
	if a.index == nil {
		return nil, errNoIndex
	}
	q, err := a.query(ctx, r)
	if err != nil {
		return nil, err
	}
	page, err := a.index.Search(ctx, q)
	if errors.Is(err, index.ErrCursor) {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("page_token: it is not one of a page; begin with the first page"))
	}
	if err != nil {
		return nil, err
	}
	return &operatorv1.ListRequestsResponse{Requests: a.rows(page.Rows), NextPageToken: page.Next, IndexedUntil: at(a.index.Status().Complete)}, nil
}

func (a *API) query(ctx context.Context, r *operatorv1.ListRequestsRequest) (q index.Query, err error) {
	ids, all, err := a.visible(ctx, r.CompanyIds)
	if err != nil {
		return q, err
	}
	if !all {
		q.Companies = ids
	}
	q.Types, q.Since, q.Until, q.Text, q.Limit, q.Cursor = r.Types, when(r.Since), when(r.Until), r.Text, int(r.PageSize), r.PageToken
	for _, t := range r.Types {
		if _, known := catalogue.Lookup(t); !known {
			return q, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("types: %q is not an event type", t))
		}
	}
	for _, c := range r.Categories {
		if checkStage(c) != nil || c == "" {
			return q, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("categories: %q is none of export, sync, import, unlink, reset", c))
		}
		q.Categories = append(q.Categories, catalogue.Category(c))
	}
	for _, name := range r.States {
		i := slices.IndexFunc(index.States, func(s index.State) bool { return states[s] == name })
		if i < 0 {
			return q, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("states: %q is none of attention, failed, open, succeeded, ignored", name))
		}
		q.States = append(q.States, index.States[i])
	}
	if r.Order != operatorv1.Order_ORDER_NEWEST_FIRST {
		q.Order = index.FailedFirst
	}
	return q, nil
}

// FindRequests implements RequestService.
func (a *API) FindRequests(ctx context.Context, r *operatorv1.FindRequestsRequest) (*operatorv1.FindRequestsResponse, error) {
	if a.index == nil {
		return nil, errNoIndex
	}
	if strings.TrimSpace(r.Text) == "" {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("text is missing: give an id, a number or a name"))
	}
	ids, all, err := a.visible(ctx, r.CompanyIds)
	if err != nil {
		return nil, err
	}
	if all {
		ids = nil
	}
	rows, err := a.index.Find(ctx, ids, r.Text)
	if err != nil {
		return nil, err
	}
	return &operatorv1.FindRequestsResponse{Requests: a.rows(rows)}, nil
}

func (a *API) rows(rows []index.Row) (out []*operatorv1.RequestRow) {
	for _, r := range rows {
		out = append(out, a.row(r))
	}
	return out
}

func (a *API) row(r index.Row) *operatorv1.RequestRow {
	out := &operatorv1.RequestRow{
		CompanyId: r.Company, RequestId: r.Request, Type: r.Type, Category: string(r.Category), State: states[r.State], Class: string(r.Class),
		Record: r.Record, Reason: r.Why, Stage: r.Stage, Created: at(r.Created), Ended: at(r.Closed), Due: at(r.Due),
	}
	if out.Reason == "" {
		out.Reason = r.Ended
	}
	if c := a.app.Companies[r.Company]; c != nil {
		out.CompanyName = c.Name
	}
	return out
}

// GetRequest implements RequestService.
func (a *API) GetRequest(ctx context.Context, r *operatorv1.GetRequestRequest) (*operatorv1.GetRequestResponse, error) {
	t, err := a.timeline(ctx, r)
	return &operatorv1.GetRequestResponse{Timeline: t}, err
}

// watchEvery is how often WatchRequest reads the timeline.
const watchEvery = time.Second

// WatchRequest implements RequestService.
func (a *API) WatchRequest(ctx context.Context, r *operatorv1.WatchRequestRequest, out *connect.ServerStream[operatorv1.WatchRequestResponse]) error {
	var last *operatorv1.Timeline
	for {
		t, err := a.timeline(ctx, &operatorv1.GetRequestRequest{RequestId: r.RequestId, CompanyId: r.CompanyId})
		if err != nil {
			return err
		}
		if !proto.Equal(t, last) {
			if err := out.Send(&operatorv1.WatchRequestResponse{Timeline: t}); err != nil {
				return err
			}
		}
		if last = t; t.Current == nil && t.AccountedFor {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchEvery):
		}
	}
}

// timeline returns the timeline of a request, from the streams, or from the index once the streams have forgotten it.
func (a *API) timeline(ctx context.Context, r *operatorv1.GetRequestRequest) (*operatorv1.Timeline, error) {
	company, err := a.companyOf(ctx, r)
	if err != nil {
		return nil, err
	}
	if r.IncludePayload {
		if err := a.may(ctx, access.SeePayload, company); err != nil {
			return nil, err
		}
	}
	o := trace.Options{
		Company: company, Request: r.RequestId, Payload: r.IncludePayload, Backoff: a.app.Backoff,
		Rules: request.Rules{Deadlines: deadlines(a.app), Company: a.app.Companies[company]},
	}
	if r.AskProcore {
		session, err := a.app.Procore.Company(company)
		if err != nil {
			return nil, connect.NewError(connect.CodeNotFound, a.app.NotServed(company))
		}
		o.Procore = session
	}
	t, err := trace.Read(ctx, a.app.Bus, o)
	if err != nil {
		return nil, err
	}
	out := timelineOf(t)
	if a.index != nil {
		if e, err := a.index.Get(ctx, company, r.RequestId); err == nil {
			out.Request = a.row(e.Row)
			if len(t.Steps) == 0 && len(t.Unread) == 0 {
				out.Steps, out.FromIndex, out.Verdict, out.AccountedFor = stepsOfIndex(e), true, e.Ended, !e.Class.NeedsAction()
			}
		}
	}
	if out.Request == nil {
		out.Request = &operatorv1.RequestRow{CompanyId: company, RequestId: r.RequestId, Type: t.Type, Category: t.Category, Class: string(t.Class), Created: atOf(t.Clicked)}
		if c := a.app.Companies[company]; c != nil {
			out.Request.CompanyName = c.Name
		}
	}
	if len(out.Steps) == 0 && len(t.Unread) == 0 && t.Procore == nil {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("ERP request %d of company %d never arrived, or is older than what is kept; if it was clicked lately, start a sweep", r.RequestId, company))
	}
	return out, nil
}

// companyOf returns the company of a request that may be given without one.
func (a *API) companyOf(ctx context.Context, r *operatorv1.GetRequestRequest) (int64, error) {
	if r.RequestId <= 0 {
		return 0, connect.NewError(connect.CodeInvalidArgument, errors.New("request_id is missing"))
	}
	if r.CompanyId != 0 {
		return r.CompanyId, a.may(ctx, access.See, r.CompanyId)
	}
	known := slices.Sorted(maps.Keys(a.app.Companies))
	have, err := request.Companies(ctx, a.app.Bus, r.RequestId, known)
	if err != nil && have == nil {
		return 0, err
	}
	have = slices.DeleteFunc(have, func(id int64) bool { return !access.From(ctx).May(access.See, id) })
	switch {
	case len(have) == 1:
		return have[0], nil
	case len(have) > 1:
		return 0, connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("request %d is of companies %v: choose one with company_id", r.RequestId, have))
	}
	if a.index != nil {
		rows, err := a.index.Find(ctx, nil, fmt.Sprint(r.RequestId))
		if err != nil {
			return 0, err
		}
		for _, row := range rows {
			if row.Request == r.RequestId && access.From(ctx).May(access.See, row.Company) {
				return row.Company, nil
			}
		}
	}
	return 0, connect.NewError(connect.CodeNotFound, fmt.Errorf("request %d never arrived for any company, or is older than what is kept; if it was clicked lately, start a sweep", r.RequestId))
}

// TryNow implements RequestService.
func (a *API) TryNow(ctx context.Context, r *operatorv1.TryNowRequest) (*operatorv1.TryNowResponse, error) {
	if err := a.mayServed(ctx, access.Act, r.CompanyId); err != nil {
		return nil, err
	}
	return nil, connect.NewError(connect.CodeUnimplemented, errors.New("an attempt can't be started early yet; failed attempts are repeated after at most about a minute"))
}

func timelineOf(t trace.Trace) *operatorv1.Timeline {
	out := &operatorv1.Timeline{Verdict: t.Verdict, AccountedFor: t.Accounted, Unread: t.Unread, Current: currentOf(t.Current), Procore: procoreOf(t.Procore)}
	for _, s := range t.Steps {
		out.Steps = append(out.Steps, stepOf(s))
	}
	return out
}

func stepOf(s trace.Step) *operatorv1.Step {
	out := &operatorv1.Step{
		At: at(s.At), Took: seconds(s.Took), Since: s.Since, Kind: s.Kind, Run: s.Run, By: s.By, Text: s.Text, Subject: s.Subject, Sequence: s.Sequence,
	}
	switch {
	case s.Delivery != nil:
		out.Message = &operatorv1.Step_Delivery{Delivery: &operatorv1.DeliveryStep{
			EventId: s.Delivery.EventID, ApiVersion: s.Delivery.APIVersion, ProjectId: s.Delivery.Project, UserId: s.Delivery.User,
			Occurred: at(s.Delivery.OccurredAt), Received: at(s.Delivery.ReceivedAt),
		}}
	case s.Event != nil:
		out.Message = &operatorv1.Step_Event{Event: &operatorv1.EventStep{PayloadBytes: int64(s.Event.Bytes), Payload: string(s.Event.Payload)}}
	case s.Outcome != nil:
		out.Message = &operatorv1.Step_Outcome{Outcome: outcomeOf(s.Outcome)}
	case s.DeadLetter != nil:
		d := s.DeadLetter
		out.Message = &operatorv1.Step_DeadLetter{DeadLetter: &operatorv1.DeadLetterStep{
			Id: d.ID, Stage: d.Stage, Class: d.Class, Cause: d.Cause, Attempts: d.Attempts, Error: d.Error, UserMessage: d.UserMessage,
		}}
	case s.Resolution != nil:
		d := s.Resolution
		out.Message = &operatorv1.Step_Resolution{Resolution: &operatorv1.ResolutionStep{
			DeadLetter: d.DeadLetter, Action: d.Action, Who: d.Who, Reason: d.Reason, Replay: d.Replay, Edited: d.Edited, Difference: d.Difference,
		}}
	}
	return out
}

func outcomeOf(o *trace.Outcome) *operatorv1.OutcomeStep {
	out := &operatorv1.OutcomeStep{DeadLettered: o.DeadLettered, Expired: o.Expired, SkipReason: o.SkipReason, ProcoreCalls: o.Calls}
	for _, c := range o.CloseOuts {
		d := &operatorv1.CloseOut{RequestDetailId: c.Detail, Record: c.Record, Status: c.Status, Messages: c.Messages, KeptStatus: c.KeptStatus}
		for _, m := range c.Marks {
			d.Marks = append(d.Marks, &operatorv1.Mark{ItemType: m.Type, ItemId: m.ID, OriginId: m.OriginID, OriginCode: m.OriginCode})
		}
		for _, x := range c.Assignments {
			d.Updates = append(d.Updates, fmt.Sprintf("line item type %d of cost code %d in project %d marked as synced", x.LineItemType, x.CostCode, x.Project))
		}
		for _, x := range c.Transactions {
			d.Updates = append(d.Updates, fmt.Sprintf("budget transaction %d of project %d marked as synced with %s", x.ID, x.Project, x.OriginID))
		}
		for _, x := range c.Unlinks {
			d.Updates = append(d.Updates, fmt.Sprintf("%s %d unlinked", x.Type, x.ID))
		}
		for _, x := range c.Links {
			d.Updates = append(d.Updates, fmt.Sprintf("link of %s %d to %q stored", x.Type, x.ID, x.OriginID))
		}
		out.CloseOuts = append(out.CloseOuts, d)
	}
	return out
}

func currentOf(c *trace.Current) *operatorv1.Current {
	if c == nil {
		return nil
	}
	out := &operatorv1.Current{
		Stage: c.Stage, Run: c.Run, Since: at(c.Since), DeliveryState: string(c.Handed), LastAttempt: atOf(c.LastAttempt), NextAttempt: atOf(c.Next), Due: atOf(c.Deadline),
	}
	if c.Attempts != nil {
		out.Attempts = int32(*c.Attempts) //nolint:gosec // a small number
	}
	if f := c.Failure; f != nil {
		out.Failure = &operatorv1.Failure{Class: f.Class, Source: f.Source, UserMessage: f.UserMessage, Error: f.Error}
	}
	return out
}

func procoreOf(p *trace.ProcoreState) *operatorv1.ProcoreState {
	if p == nil {
		return nil
	}
	out := &operatorv1.ProcoreState{Known: p.Known, Type: p.Type, Created: atOf(p.Created), ProcoreCalls: int32(p.Calls)} //nolint:gosec // a small number
	for _, d := range p.Details {
		out.Details = append(out.Details, &operatorv1.RequestDetail{Id: d.ID, Status: d.Status})
	}
	return out
}

// stepsOfIndex returns the steps of a request that only the index has.
func stepsOfIndex(e index.Entry) (out []*operatorv1.Step) {
	for _, s := range request.Steps(e.Messages) {
		out = append(out, &operatorv1.Step{At: at(s.At), Kind: string(s.Kind), Run: s.Run, By: s.By(), Text: s.Text(), Subject: s.Subject, Sequence: s.Sequence})
	}
	return out
}
