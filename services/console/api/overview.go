package api

import (
	"context"
	"errors"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/index"
	"github.com/tieback/tieback/services/console/operator/status"
)

// statusOptions returns the options of the reports.
func statusOptions(a *tenant.App) status.Options {
	o := status.Options{
		Companies: map[int64]string{}, Clients: map[int64]*company.Client{}, Deadlines: deadlines(a), InvalidEntries: a.Unserved,
		Quota: a.Quota,
	}
	for id, c := range a.Companies {
		o.Companies[id], o.Clients[id] = c.Name, c.Client
	}
	return o
}

// maxWindow bounds the time over which rates and results are counted.
const maxWindow = 24 * time.Hour

func deadlines(a *tenant.App) request.Deadlines {
	return request.Deadlines{Interactive: a.Settings.Deadline, Sync: a.Settings.SyncDeadline}
}

// GetOverview implements OverviewService.
func (a *API) GetOverview(ctx context.Context, r *operatorv1.GetOverviewRequest) (*operatorv1.GetOverviewResponse, error) {
	o, err := a.overview(ctx, r.CompanyIds, r.Window)
	return &operatorv1.GetOverviewResponse{Overview: o}, err
}

// WatchOverview implements OverviewService.
func (a *API) WatchOverview(ctx context.Context, r *operatorv1.WatchOverviewRequest, out *connect.ServerStream[operatorv1.WatchOverviewResponse]) error {
	every := 2 * time.Second
	if r.Every != nil {
		every = max(r.Every.AsDuration(), time.Second)
	}
	for {
		o, err := a.overview(ctx, r.CompanyIds, r.Window)
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

// overview returns the overview of the companies that were asked for and that the caller may see. See readings for
// its age. It is newer than the last change that was made through this API.
func (a *API) overview(ctx context.Context, asked []int64, window *durationpb.Duration) (*operatorv1.Overview, error) {
	ids, all, err := a.visible(ctx, asked)
	if err != nil {
		return nil, err
	}
	if window != nil && (window.AsDuration() < time.Second || window.AsDuration() > maxWindow) {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("window: must be from one second to 24 hours"))
	}
	if all {
		ids = nil
	}
	reading, err := a.readings.get(ctx, window.AsDuration())
	if err != nil {
		return nil, err
	}
	o := reading.Overview(ids)
	for _, id := range asked {
		if len(o.Unread) == 0 && !slices.ContainsFunc(o.Companies, func(c *operatorv1.CompanyState) bool { return c.Id == id }) {
			return nil, a.notServed(ctx, id)
		}
	}
	if a.Index != nil {
		if err := a.addSeries(ctx, o, ids); err != nil {
			o.Unread = append(o.Unread, "the index: "+err.Error())
		}
	}
	for _, id := range asked {
		o.Series = append(o.Series, a.hours.of(id)...)
	}
	return o, nil
}

// addSeries adds the last hour to an overview; ids nil: of all companies.
func (a *API) addSeries(ctx context.Context, o *operatorv1.Overview, ids []int64) error {
	counts, err := a.Index.Counts(ctx, ids)
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
	o, err := a.overview(ctx, nil, nil)
	if err != nil {
		return nil, err
	}
	return &operatorv1.ListCompaniesResponse{Companies: o.Companies}, nil
}

// company returns the state of one company.
func (a *API) company(ctx context.Context, id int64) (*operatorv1.CompanyState, error) {
	o, err := a.overview(ctx, []int64{id}, nil)
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
