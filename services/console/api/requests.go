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
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/pkg/state"
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
	if a.Index == nil {
		return nil, errNoIndex
	}
	q, err := a.query(ctx, r)
	if err != nil {
		return nil, err
	}
	page, err := a.Index.Search(ctx, q)
	if errors.Is(err, index.ErrCursor) {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("page_token: it is not one of a page; begin with the first page"))
	}
	if err != nil {
		return nil, err
	}
	return &operatorv1.ListRequestsResponse{Requests: a.rows(page.Rows), NextPageToken: page.Next, IndexedUntil: at(a.Index.Status().Complete)}, nil
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
	if a.Index == nil {
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
	rows, err := a.Index.Find(ctx, ids, r.Text)
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
		Record: r.Record, Reason: r.Why, Stage: r.Stage, Created: at(r.Created), Ended: at(r.Closed), Due: at(r.Due), DeadLetter: r.DeadLetter,
	}
	if out.Reason == "" {
		out.Reason = r.Ended
	}
	out.CompanyName = a.companyName(r.Company)
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
			return nil, a.notServed(ctx, company)
		}
		o.Procore = session
	}
	t, err := trace.Read(ctx, a.app.Bus, o)
	if err != nil {
		return nil, err
	}
	t.Request.CompanyName = a.companyName(company)
	if t.Current != nil {
		t.Current.CanTryNow = notNow(t.Current, company, nil) == ""
	}
	if a.Index != nil {
		if e, err := a.Index.Get(ctx, company, r.RequestId); err == nil {
			read := t.Request
			t.Request = a.row(e.Row)
			t.Request.DeadLetter = read.DeadLetter
			if len(t.Steps) == 0 && len(t.Unread) == 0 {
				t.Steps, t.FromIndex, t.Verdict, t.AccountedFor = trace.Steps(request.Steps(e.Messages), false), true, e.Ended, !e.Class.NeedsAction()
			} else {
				t.Request.Class = read.Class
			}
		}
	}
	if len(t.Steps) == 0 && len(t.Unread) == 0 && t.Procore == nil {
		if a.app.Companies[company] == nil { // the streams may still have requests of a former company
			return nil, a.notServed(ctx, company)
		}
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("ERP request %d of company %d %s", r.RequestId, company, t.Verdict))
	}
	return t, nil
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
		return 0, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("request %d is of companies %s: choose one of them", r.RequestId, strings.ReplaceAll(strings.Trim(fmt.Sprint(have), "[]"), " ", ", ")))
	}
	if a.Index != nil {
		rows, err := a.Index.Find(ctx, nil, fmt.Sprint(r.RequestId))
		if err != nil {
			return 0, err
		}
		for _, row := range rows {
			if row.Request == r.RequestId && access.From(ctx).May(access.See, row.Company) {
				return row.Company, nil
			}
		}
	}
	return 0, connect.NewError(connect.CodeNotFound, fmt.Errorf("request %d never arrived here for any company, or is older than what is kept: if it was created lately, the next sweep fetches it", r.RequestId))
}

// TryNow implements RequestService. The worker looks for such requests every two seconds.
func (a *API) TryNow(ctx context.Context, r *operatorv1.TryNowRequest) (*operatorv1.TryNowResponse, error) {
	if err := a.mayServed(ctx, access.Act, r.CompanyId); err != nil {
		return nil, err
	}
	t, err := a.timeline(ctx, &operatorv1.GetRequestRequest{CompanyId: r.CompanyId, RequestId: r.RequestId})
	if err != nil {
		return nil, err
	}
	pauses, err := a.state.Pauses(ctx)
	if err != nil {
		return nil, err
	}
	if why := notNow(t.Current, r.CompanyId, pauses); why != "" {
		return &operatorv1.TryNowResponse{Text: why}, nil
	}
	if err := a.state.Retry(ctx, state.Retry{Company: r.CompanyId, Request: r.RequestId, At: time.Now().UTC()}); err != nil {
		return nil, err
	}
	a.readings.forget()
	a.app.Log.Info("starting the next attempt at a request for an operator", zap.Int64("company", r.CompanyId), zap.Int64("erp_request", r.RequestId), zap.String("who", access.From(ctx).Name))
	return &operatorv1.TryNowResponse{Started: true, Text: fmt.Sprintf("The next attempt at stage %s starts within a few seconds.", t.Current.Stage)}, nil
}

// notNow returns why the next attempt of a request can't be started; "": it can.
func notNow(c *operatorv1.Current, company int64, pauses []state.Pause) string {
	switch {
	case c == nil:
		return "The request is not in progress."
	case checkStage(c.Stage) != nil:
		return fmt.Sprintf("The request is at %s, which repeats a failed attempt by itself after at most a minute.", c.Stage)
	case c.Failure == nil:
		return "No attempt has failed: the request waits for its turn, or is being processed."
	case c.Failure.Class == fault.Throttled.String():
		return "The request waits for a rate limit, which an attempt now would only exceed again."
	}
	for _, p := range pauses {
		if p.Company == company && (p.Stage == "" || p.Stage == c.Stage) {
			return "The company is paused: resume it first."
		}
	}
	return ""
}
