package api

import (
	"context"
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/access"
	"github.com/tieback/tieback/services/console/operator/doctor"
)

// Check implements CompanyService. One check runs at a time, the others wait for it: a check makes Procore calls and takes seconds.
// Findings of no company may name other companies, so only callers that may see all companies get them.
func (a *API) Check(ctx context.Context, r *operatorv1.CheckRequest) (*operatorv1.CheckResponse, error) {
	ids, all, err := a.visible(ctx, r.CompanyIds)
	if err != nil {
		return nil, err
	}
	select {
	case a.checking <- struct{}{}:
		defer func() { <-a.checking }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	d := doctor.Of(a.app)
	if !all {
		d.Only = ids
	}
	_, general := access.From(ctx).Companies(access.See)
	out := &operatorv1.CheckResponse{At: timestamppb.Now()}
	if all {
		ids = slices.Collect(maps.Keys(a.app.Companies))
	}
	for _, f := range d.Examine(ctx).Findings {
		if f.Company == 0 && !general {
			continue
		}
		out.Findings = append(out.Findings, &operatorv1.Finding{Check: f.Check, CompanyId: f.Company, Level: string(f.Level), Text: f.Text, Action: f.Action})
	}
	count(out)
	if ctx.Err() == nil {
		a.results.addChecks(ids, out)
	}
	return out, nil
}

// count sets the numbers of problems and warnings.
func count(r *operatorv1.CheckResponse) {
	for _, f := range r.Findings {
		switch doctor.Level(f.Level) {
		case doctor.Problem:
			r.Problems++
		case doctor.Warning:
			r.Warnings++
		}
	}
}
