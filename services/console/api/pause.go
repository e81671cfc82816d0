package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/state"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/access"
)

// Pause implements CompanyService.
func (a *API) Pause(ctx context.Context, r *operatorv1.PauseRequest) (*operatorv1.PauseResponse, error) {
	if err := a.mayServed(ctx, access.Act, r.CompanyId); err != nil {
		return nil, err
	}
	if err := checkStage(r.Stage); err != nil {
		return nil, err
	}
	if strings.TrimSpace(r.Reason) == "" {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("reason is missing: say why the company is paused, for the next operator"))
	}
	p := state.Pause{Company: r.CompanyId, Stage: r.Stage, Who: access.From(ctx).Name, Reason: r.Reason, At: time.Now().UTC()}
	if err := a.state.Pause(ctx, p); err != nil {
		return nil, err
	}
	a.readings.forget()
	a.app.Log.Info("paused a company", zap.Int64("company", p.Company), zap.String("stage", p.Stage), zap.String("who", p.Who), zap.String("reason", p.Reason))
	c, err := a.company(ctx, r.CompanyId)
	return &operatorv1.PauseResponse{Company: c}, err
}

// Resume implements CompanyService.
func (a *API) Resume(ctx context.Context, r *operatorv1.ResumeRequest) (*operatorv1.ResumeResponse, error) {
	if err := a.mayServed(ctx, access.Act, r.CompanyId); err != nil {
		return nil, err
	}
	if err := checkStage(r.Stage); err != nil {
		return nil, err
	}
	if err := a.state.Resume(ctx, r.CompanyId, r.Stage); err != nil {
		return nil, err
	}
	a.readings.forget()
	a.app.Log.Info("resumed a company", zap.Int64("company", r.CompanyId), zap.String("stage", r.Stage), zap.String("who", access.From(ctx).Name))
	c, err := a.company(ctx, r.CompanyId)
	return &operatorv1.ResumeResponse{Company: c}, err
}

// checkStage returns an error unless stage is a worker's, or "" for all workers.
func checkStage(stage string) error {
	if stage == "" {
		return nil
	}
	var names []string
	for _, c := range catalogue.Categories {
		if stage == string(c) {
			return nil
		}
		names = append(names, string(c))
	}
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("stage: %q is none of %s", stage, strings.Join(names, ", ")))
}
