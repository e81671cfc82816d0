package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/procore/erplog"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/access"
	"github.com/tieback/tieback/services/console/operator/audit"
	"github.com/tieback/tieback/services/sweep"
)

// Audit implements ReconciliationService.
func (a *API) Audit(ctx context.Context, r *operatorv1.AuditRequest) (*operatorv1.AuditResponse, error) {
	if err := a.mayServed(ctx, access.See, r.CompanyId); err != nil {
		return nil, err
	}
	o := audit.Options{Since: when(r.Since), Until: when(r.Until), Rules: request.Rules{Deadlines: deadlines(a.app), Company: a.app.Companies[r.CompanyId]}}
	if o.Until.IsZero() {
		o.Until = time.Now()
	}
	switch {
	case o.Since.IsZero():
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("since is missing"))
	case !o.Since.Before(o.Until):
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("since is not before until"))
	}
	session, err := a.app.Procore.Company(r.CompanyId)
	if err != nil {
		return nil, err
	}
	reader := &erplog.Reader{
		Session: session, Company: r.CompanyId, Namespace: a.app.Companies[r.CompanyId].WebhookNamespace, Backoff: a.app.Backoff,
		Waiting: func(time.Duration, string) {},
	}
	return audit.Read(ctx, reader, a.app.Bus, o)
}

// Sweep implements ReconciliationService.
func (a *API) Sweep(ctx context.Context, r *operatorv1.SweepRequest) (*operatorv1.SweepResponse, error) {
	if err := a.mayServed(ctx, access.Act, r.CompanyId); err != nil {
		return nil, err
	}
	s, err := sweep.New(sweep.Deps{
		Bus: a.app.Bus, Companies: a.app.Companies, Procore: a.app.Procore, Log: a.app.Log, Backoff: a.app.Backoff, Every: a.app.Settings.SweepEvery,
	}, prometheus.NewRegistry())
	if err != nil {
		return nil, err
	}
	a.app.Log.Info("sweeping a company for an operator", zap.Int64("company", r.CompanyId), zap.String("who", access.From(ctx).Name))
	result, err := s.Sweep(ctx, r.CompanyId)
	a.readings.forget()
	if err != nil {
		return nil, err
	}
	out := &operatorv1.SweepResponse{
		CompanyId: r.CompanyId, FoundRequestIds: result.Found, ClosedRequestDetailIds: result.Closed, FailingDeliveries: int32(result.Failing), ProcoreCalls: int32(result.Calls), Notes: result.Notes, //nolint:gosec // counts
	}
	for _, l := range result.Skipped {
		request := "without an id"
		if l.Request != 0 {
			request = fmt.Sprint(l.Request)
		}
		out.Skipped = append(out.Skipped, fmt.Sprintf("ERP request %s: %s", request, l.Why))
	}
	return out, nil
}
