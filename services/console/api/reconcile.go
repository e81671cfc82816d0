package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/durationpb"

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
	report, err := audit.Read(ctx, reader, a.app.Bus, o)
	if err != nil {
		return nil, err
	}
	return auditOf(report), nil
}

func auditOf(r audit.Report) *operatorv1.AuditResponse {
	out := &operatorv1.AuditResponse{
		CompanyId: r.Company, Since: at(r.Since), Until: at(r.Until), AccountedFor: r.Accounted, Requests: int32(r.Requests), Counts: map[string]int32{}, //nolint:gosec // counts
		Unlisted: int32(r.Unlisted), ProcoreCalls: int32(r.Calls), Notes: r.Notes, //nolint:gosec // counts
	}
	for class, n := range r.Counts {
		out.Counts[string(class)] = int32(n) //nolint:gosec // a count
	}
	for _, l := range r.Losses {
		out.Losses = append(out.Losses, l.String())
	}
	for _, f := range r.Findings {
		g := &operatorv1.AuditFinding{
			RequestId: f.Request, Type: f.Type, Class: string(f.Class), AccountedFor: !f.Class.NeedsAction(), Created: at(f.Clicked), Stage: f.Stage,
			Attempts: int32(f.Attempts), OpenRequestDetails: f.Open, Listed: f.Listed, Why: f.Why, //nolint:gosec // a small number
		}
		if age, err := time.ParseDuration(f.Age); err == nil {
			g.Age = durationpb.New(age)
		}
		out.Findings = append(out.Findings, g)
	}
	return out
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
	if err != nil {
		return nil, err
	}
	out := &operatorv1.SweepResponse{
		FoundRequestIds: result.Found, ClosedRequestDetailIds: result.Closed, FailingDeliveries: int32(result.Failing), ProcoreCalls: int32(result.Calls), Notes: result.Notes, //nolint:gosec // counts
	}
	for _, l := range result.Skipped {
		out.Skipped = append(out.Skipped, fmt.Sprintf("ERP request %d: %s", l.Request, l.Why))
	}
	return out, nil
}
