// Package api implements the operator API, proto/tieback/operator/v1. The service console and tieback run serve it; a
// command that finds neither serves it to itself.
package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/proto/tieback/operator/v1/operatorv1connect"
	"github.com/tieback/tieback/services/console/access"
	"github.com/tieback/tieback/services/console/index"
	"github.com/tieback/tieback/services/console/operator/status"
)

// API implements all services of the operator API. Each method checks what the caller in its context may do; see
// package access. Its methods may be called concurrently.
type API struct {
	Options
	app   *tenant.App
	state *state.State

	checking chan struct{} // has an element while checks are made

	readings *readings

	hours   hours
	results results
}

// Options are the options of New.
type Options struct {
	Index   *index.Index // nil: there are no lists of requests, and they can be looked up by id only
	Stopped bool         // the broker is embedded in this process, which runs no service
}

var _ interface {
	operatorv1connect.OverviewServiceHandler
	operatorv1connect.RequestServiceHandler
	operatorv1connect.DeadLetterServiceHandler
	operatorv1connect.CompanyServiceHandler
	operatorv1connect.ReconciliationServiceHandler
} = (*API)(nil)

// New returns the API over the app's broker, companies and Procore client. The app must be connected.
func New(a *tenant.App, o Options) *API {
	s := statusOptions(a)
	s.Embedded = o.Stopped
	return &API{Options: o, app: a, state: state.Of(a.Bus), checking: make(chan struct{}, 1), readings: newReadings(status.New(a.Bus, s).Read)}
}

// maxRequest bounds the body of a call: an edited event may be as large as a message of the broker.
const maxRequest = 16 << 20

// Handler serves the API over HTTP. The caller must be in the context of each request.
func (a *API) Handler() http.Handler {
	options := []connect.HandlerOption{
		connect.WithReadMaxBytes(maxRequest),
		connect.WithInterceptors(classes{a}),
		connect.WithRecover(func(_ context.Context, s connect.Spec, _ http.Header, p any) error {
			a.app.Log.Error("panic in a call of the operator API", zap.String("procedure", s.Procedure), zap.Any("panic", p), zap.Stack("stack"))
			return connect.NewError(connect.CodeInternal, errors.New("the call failed because of an error in Tieback; its log has the details"))
		}),
	}
	mux := http.NewServeMux()
	mux.Handle(operatorv1connect.NewOverviewServiceHandler(a, options...))
	mux.Handle(operatorv1connect.NewRequestServiceHandler(a, options...))
	mux.Handle(operatorv1connect.NewDeadLetterServiceHandler(a, options...))
	mux.Handle(operatorv1connect.NewCompanyServiceHandler(a, options...))
	mux.Handle(operatorv1connect.NewReconciliationServiceHandler(a, options...))
	return mux
}

// classes is an interceptor that gives errors without a Connect code the code of their class.
type classes struct{ *API }

// callTimeout bounds a unary call, except those in longCalls.
const callTimeout = time.Minute

// procoreTimeout bounds a call that waits for Procore's limits, which are those of an hour. A wait that would exceed the deadline
// ends a call before it has said why.
const procoreTimeout = 2 * time.Hour

// longCalls bounds the calls that wait for Procore's rate limits, or for replayed requests to end.
var longCalls = map[string]time.Duration{
	operatorv1connect.ReconciliationServiceAuditProcedure:     procoreTimeout,
	operatorv1connect.ReconciliationServiceSweepProcedure:     procoreTimeout,
	operatorv1connect.CompanyServiceCheckLinksProcedure:       procoreTimeout,
	operatorv1connect.CompanyServiceRebuildLinksProcedure:     procoreTimeout,
	operatorv1connect.CompanyServiceCheckProcedure:            5 * time.Minute,
	operatorv1connect.RequestServiceGetRequestProcedure:       procoreTimeout, // with ask_procore
	operatorv1connect.DeadLetterServiceReplayProcedure:        maxWait + time.Minute,
	operatorv1connect.DeadLetterServiceEditAndReplayProcedure: maxWait + time.Minute,
}

// WrapUnary implements connect.Interceptor. The client may give a shorter deadline than that of the call.
func (a classes) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, cmp.Or(longCalls[r.Spec().Procedure], callTimeout))
		defer cancel()
		answer, err := next(ctx, r)
		return answer, a.coded(ctx, r.Spec(), err)
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (a classes) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, c connect.StreamingHandlerConn) error {
		return a.coded(ctx, c.Spec(), next(ctx, c))
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (a classes) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (a classes) coded(ctx context.Context, s connect.Spec, err error) error {
	var coded *connect.Error
	if err == nil || errors.As(err, &coded) {
		return err
	}
	a.app.Log.Warn("a call of the operator API failed", zap.String("procedure", s.Procedure), zap.String("caller", access.From(ctx).Name), zap.Error(err))
	return connect.NewError(codeOf(ctx, err), err)
}

// codeOf returns the Connect code of an error of the broker, Procore or an ERP.
func codeOf(ctx context.Context, err error) connect.Code {
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		return connect.CodeFailedPrecondition
	case ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded):
		return connect.CodeDeadlineExceeded
	case fault.ClassOf(err) == fault.Permanent:
		return connect.CodeFailedPrecondition
	case fault.ClassOf(err) == fault.Throttled:
		return connect.CodeResourceExhausted
	}
	return connect.CodeUnavailable
}

// may returns an error unless the caller may do something that concerns a company; 0: all companies.
func (a *API) may(ctx context.Context, do access.Action, company int64) error {
	c := access.From(ctx)
	switch {
	case c.May(do, company):
		return nil
	case company == 0:
		return connect.NewError(connect.CodePermissionDenied, fmt.Errorf("%s may not do this for all companies", c.Name))
	case do != access.See && c.May(access.See, company):
		return connect.NewError(connect.CodePermissionDenied, fmt.Errorf("%s may only look at company %d", c.Name, company))
	}
	return connect.NewError(connect.CodeNotFound, fmt.Errorf("company %d does not exist, or %s may not see it", company, c.Name))
}

// mayServed is may for a company that must be in the companies file.
func (a *API) mayServed(ctx context.Context, do access.Action, company int64) error {
	if company == 0 {
		return connect.NewError(connect.CodeInvalidArgument, errors.New("company_id is missing"))
	}
	if err := a.may(ctx, do, company); err != nil {
		return err
	}
	if a.app.Companies[company] == nil {
		return a.notServed(ctx, company)
	}
	return nil
}

// notServed is the error for a company that is not in the companies file. A caller of some companies is not shown the others.
func (a *API) notServed(ctx context.Context, company int64) error {
	err := fmt.Errorf("company %d is not in the companies file", company)
	if access.From(ctx).May(access.See, 0) {
		err = a.app.NotServed(company)
	}
	return connect.NewError(connect.CodeInvalidArgument, err)
}

// visible returns the companies of a request that the caller may see; all: every company. Asking for a company that the
// caller may not see is an error.
func (a *API) visible(ctx context.Context, asked []int64) (ids []int64, all bool, err error) {
	for _, id := range asked {
		if err := a.may(ctx, access.See, id); err != nil {
			return nil, false, err
		}
	}
	if len(asked) > 0 {
		return asked, false, nil
	}
	ids, all = access.From(ctx).Companies(access.See)
	if !all && len(ids) == 0 {
		return nil, false, connect.NewError(connect.CodePermissionDenied, fmt.Errorf("%s may not see any company", access.From(ctx).Name))
	}
	return ids, all, nil
}
