package api

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/timestamppb"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/access"
	"github.com/tieback/tieback/services/console/operator/links"
)

// ListLinks implements CompanyService.
func (a *API) ListLinks(ctx context.Context, r *operatorv1.ListLinksRequest) (*operatorv1.ListLinksResponse, error) {
	if err := a.mayServed(ctx, access.See, r.CompanyId); err != nil {
		return nil, err
	}
	all, err := links.List(ctx, a.state, r.CompanyId, r.ItemType)
	if err != nil {
		return nil, err
	}
	from, size, err := pageOf(r.PageToken, r.PageSize, 1000)
	if err != nil {
		return nil, err
	}
	out := &operatorv1.ListLinksResponse{}
	page := all[min(from, len(all)):]
	if len(page) > size {
		page, out.NextPageToken = page[:size], strconv.Itoa(from+size)
	}
	out.Links = page
	return out, nil
}

// pageOf reads the token and the size of a page of a list that is read as a whole.
func pageOf(token string, size int32, otherwise int) (from, n int, err error) {
	n = otherwise
	if size > 0 {
		n = min(int(size), 10_000)
	}
	if token == "" {
		return 0, n, nil
	}
	if from, err = strconv.Atoi(token); err != nil || from < 0 {
		return 0, 0, connect.NewError(connect.CodeInvalidArgument, errors.New("page_token: it is not one of a page; begin with the first page"))
	}
	return from, n, nil
}

// CheckLinks implements CompanyService.
func (a *API) CheckLinks(ctx context.Context, r *operatorv1.CheckLinksRequest) (*operatorv1.CheckLinksResponse, error) {
	if err := a.mayServed(ctx, access.See, r.CompanyId); err != nil {
		return nil, err
	}
	report, err := a.rebuild(ctx, r.CompanyId, links.Options{DryRun: true, Force: r.Force})
	if err == nil {
		a.results.addLinks(report)
	}
	return &operatorv1.CheckLinksResponse{Report: report}, err
}

// RebuildLinks implements CompanyService.
func (a *API) RebuildLinks(ctx context.Context, r *operatorv1.RebuildLinksRequest) (*operatorv1.RebuildLinksResponse, error) {
	if err := a.mayServed(ctx, access.Act, r.CompanyId); err != nil {
		return nil, err
	}
	a.app.Log.Info("rebuilding the links of a company", zap.Int64("company", r.CompanyId), zap.Bool("force", r.Force), zap.String("who", access.From(ctx).Name))
	report, err := a.rebuild(ctx, r.CompanyId, links.Options{Force: r.Force})
	return &operatorv1.RebuildLinksResponse{Report: report}, err
}

func (a *API) rebuild(ctx context.Context, company int64, o links.Options) (*operatorv1.LinkReport, error) {
	o.Company = a.app.Companies[company]
	session, err := a.app.Procore.Company(company)
	if err != nil {
		return nil, err
	}
	report, err := links.Rebuild(ctx, session.Retrying(links.Retry(func(time.Duration, string) {})), a.state, o)
	if err != nil {
		return nil, fmt.Errorf("the rebuild of company %d is incomplete, run it again: %w", company, err)
	}
	report.At = timestamppb.Now()
	return report, nil
}
