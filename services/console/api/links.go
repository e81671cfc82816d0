package api

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/zap"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/access"
	"github.com/tieback/tieback/services/console/operator/links"
)

// ListLinks implements CompanyService.
func (a *API) ListLinks(ctx context.Context, r *operatorv1.ListLinksRequest) (*operatorv1.ListLinksResponse, error) {
	if r.CompanyId == 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("company_id is missing"))
	}
	if err := a.may(ctx, access.See, r.CompanyId); err != nil {
		return nil, err
	}
	var types []string
	if r.ItemType != "" {
		types = []string{r.ItemType}
	}
	all, err := links.List(ctx, a.state, r.CompanyId, types...)
	if err != nil {
		return nil, err
	}
	from, size, err := pageOf(r.PageToken, r.PageSize, 1000)
	if err != nil {
		return nil, err
	}
	out := &operatorv1.ListLinksResponse{}
	page := all.Links[min(from, len(all.Links)):]
	if len(page) > size {
		page, out.NextPageToken = page[:size], strconv.Itoa(from+size)
	}
	for _, l := range page {
		out.Links = append(out.Links, &operatorv1.Link{ItemType: l.ItemType, ItemId: l.ItemID, OriginId: l.OriginID, RequestId: l.Request})
	}
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
	report, err := a.rebuild(ctx, r.CompanyId, links.Options{DryRun: true})
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
		return nil, err
	}
	return linkReportOf(report), nil
}

func linkReportOf(r links.Report) *operatorv1.LinkReport {
	out := &operatorv1.LinkReport{CompanyId: r.Company, Saved: !r.DryRun, Lists: int32(r.Lists), HiddenProjects: slices.Clone(r.Hidden)} //nolint:gosec // a count
	for _, t := range r.Types {
		out.Types = append(out.Types, &operatorv1.LinkCount{
			ItemType: t.ItemType, InProcore: int32(t.Procore), Same: int32(t.Same), New: int32(t.New), Different: int32(t.Different), Gone: int32(t.Gone), Unchecked: int32(t.Unchecked), //nolint:gosec // counts
		})
	}
	for _, c := range r.Changes {
		out.Changes = append(out.Changes, &operatorv1.LinkChange{
			Kind: string(c.Kind), ItemType: c.ItemType, ItemId: c.ItemID, StoredOriginId: c.Stored, ProcoreOriginId: c.Procore, Saved: c.Saved,
		})
	}
	unread := func(all []links.Unread) (out []*operatorv1.UnreadList) {
		for _, u := range all {
			out = append(out, &operatorv1.UnreadList{List: u.List, ItemType: u.ItemType, Of: u.Of, Why: u.Why})
		}
		return out
	}
	out.Unread, out.WithoutLines = unread(r.Unread), unread(r.NoLines)
	return out
}
