package api

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/connector"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/console/access"
)

const (
	// connectorAge is how long a connector's answer is shown, and connectorRetry how long an error.
	connectorAge, connectorRetry = time.Minute, 30 * time.Second
	// connectorTimeout bounds a question to a connector.
	connectorTimeout = 2 * time.Second
)

// results are the last results of questions that cost calls, by company. They start empty with the process. The zero value is
// ready. Its methods may be called concurrently.
type results struct {
	mu sync.Mutex
	by map[int64]*result
}

type result struct {
	asking    sync.Mutex // held while the connector is asked
	connector *operatorv1.Connector
	until     time.Time // when the connector is asked again
	links     *operatorv1.LinkReport
	checks    *operatorv1.CheckResponse
}

func (r *results) of(company int64) *result {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[int64]*result{}
	}
	if r.by[company] == nil {
		r.by[company] = &result{}
	}
	return r.by[company]
}

// addLinks keeps a comparison of links, without the changes: they may be many.
func (r *results) addLinks(report *operatorv1.LinkReport) {
	is := r.of(report.CompanyId)
	kept := proto.CloneOf(report)
	kept.Changes = nil
	r.mu.Lock()
	defer r.mu.Unlock()
	is.links = kept
}

// addChecks keeps the findings of each company that was checked.
func (r *results) addChecks(companies []int64, all *operatorv1.CheckResponse) {
	for _, company := range companies {
		kept := &operatorv1.CheckResponse{At: all.At}
		for _, f := range all.Findings {
			if f.CompanyId == company {
				kept.Findings = append(kept.Findings, f)
			}
		}
		count(kept)
		is := r.of(company)
		r.mu.Lock()
		is.checks = kept
		r.mu.Unlock()
	}
}

// GetCompany implements CompanyService.
func (a *API) GetCompany(ctx context.Context, r *operatorv1.GetCompanyRequest) (*operatorv1.GetCompanyResponse, error) {
	if err := a.mayServed(ctx, access.See, r.CompanyId); err != nil {
		return nil, err
	}
	is := a.results.of(r.CompanyId)
	c := a.connector(ctx, a.app.Companies[r.CompanyId], is)
	a.results.mu.Lock()
	defer a.results.mu.Unlock()
	return &operatorv1.GetCompanyResponse{Connector: c, Links: is.links, Checks: is.checks}, nil
}

// connector returns what a company's connector offers. Callers share a question.
func (a *API) connector(ctx context.Context, c *company.Company, is *result) *operatorv1.Connector {
	is.asking.Lock()
	defer is.asking.Unlock()
	if now := time.Now(); is.connector == nil || now.After(is.until) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectorTimeout)
		defer cancel()
		is.connector, is.until = ask(ctx, a.app.Drivers, c), now.Add(connectorAge)
		if is.connector.Error != "" {
			is.until = now.Add(connectorRetry)
		}
	}
	return is.connector
}

// ask asks a connector what it offers.
func ask(ctx context.Context, drivers connector.Drivers, c *company.Company) *operatorv1.Connector {
	out := &operatorv1.Connector{Driver: c.Driver, At: timestamppb.Now()}
	open, known := drivers[c.Driver]
	if !known {
		out.Error = "there is no such driver"
		return out
	}
	driver, err := open(ctx, c.ID, c.Settings())
	if err != nil {
		out.Error = err.Error()
		return out
	}
	erp := connector.New(driver, connector.Config{Company: c.ID})
	defer func() { _ = erp.Close() }() // nothing was written
	caps, err := erp.Capabilities(ctx)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	out.Name, out.Version, out.MaxConcurrent, out.Currency, out.PutStream = caps.Name, caps.Version, caps.MaxConcurrent, caps.Currency, caps.PutStream
	for _, e := range caps.Entities {
		if e.Entity == tiebackv1.Entity_ENTITY_UNSPECIFIED {
			continue
		}
		out.Entities = append(out.Entities, &operatorv1.ConnectorEntity{
			Name: connector.Noun(e.Entity), Put: e.Put, Update: e.Update, List: e.List, State: e.State, Remove: e.Remove, Tax: e.Tax, Retainage: e.Retainage, Currency: e.Currency,
		})
	}
	return out
}
