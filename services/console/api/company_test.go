package api

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/app"
	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/connector"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/console/access"
)

// offers is a driver that only says what it offers.
type offers struct {
	connector.Driver
	hangs bool
}

func (o offers) Capabilities(ctx context.Context, _ *tiebackv1.CapabilitiesRequest) (*tiebackv1.CapabilitiesResponse, error) {
	if o.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &tiebackv1.CapabilitiesResponse{Name: "Demo ERP", Version: "5.0", PutStream: true, Entities: []*tiebackv1.EntityCapability{{Entity: tiebackv1.Entity_ENTITY_VENDOR, Put: true}}}, nil
}

func (offers) Close() error { return nil }

// The setup of a company has what its connector offers, which is asked once a minute, an error for half a minute, and the last results of
// the questions that cost calls.
func TestGetCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened, driver, refused := 0, offers{}, error(nil)
		drivers := connector.Drivers{"demo": func(context.Context, int64, map[string]string) (connector.Driver, error) {
			opened++
			return driver, refused
		}}
		a := &API{app: &tenant.App{App: &app.App{}, Drivers: drivers, Companies: company.Set{7: {ID: 7, Driver: "demo"}, 8: {ID: 8, Driver: "none"}}}}
		owner := access.With(t.Context(), access.Owner("test"))
		get := func(id int64) *operatorv1.GetCompanyResponse {
			t.Helper()
			r, err := a.GetCompany(owner, &operatorv1.GetCompanyRequest{CompanyId: id})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		for range 5 {
			if c := get(7).Connector; c.Name != "Demo ERP" || !c.PutStream || len(c.Entities) != 1 || c.Entities[0].Name != "vendor" || !c.Entities[0].Put || c.Error != "" {
				t.Errorf("the connector is %v", c)
			}
		}
		time.Sleep(connectorAge + time.Second)
		driver.hangs = true
		start := time.Now()
		if c := get(7).Connector; c.Error == "" || time.Since(start) > connectorTimeout {
			t.Errorf("after %v the connector that hangs is %v", time.Since(start), c)
		}
		get(7)
		time.Sleep(connectorRetry + time.Second)
		driver.hangs, refused = false, errors.New("the settings are wrong")
		if c := get(7).Connector; c.Error != "the settings are wrong" || opened != 3 {
			t.Errorf("opened %d times: %v", opened, c)
		}
		if c := get(8).Connector; c.Error == "" {
			t.Errorf("of an unknown driver: %v", c)
		}

		a.results.addLinks(&operatorv1.LinkReport{CompanyId: 7, At: timestamppb.Now(), Types: []*operatorv1.LinkCount{{ItemType: "vendor", Same: 9}}, Changes: []*operatorv1.LinkChange{{ItemId: 1}}})
		a.results.addChecks([]int64{7}, &operatorv1.CheckResponse{Findings: []*operatorv1.Finding{{Level: "problem", Text: "of no company"}, {Level: "warning", CompanyId: 7}, {Level: "problem", CompanyId: 8}}})
		if r := get(7); r.Links.Types[0].Same != 9 || len(r.Links.Changes) > 0 || len(r.Checks.Findings) != 1 || r.Checks.Warnings != 1 || r.Checks.Problems != 0 {
			t.Errorf("the results are %v", r)
		}
		if r := get(8); r.Links != nil || r.Checks != nil {
			t.Errorf("another company has %v", r)
		}
		viewer := access.With(t.Context(), access.NewCaller("vic", access.Grant{Role: access.Viewer, Companies: []int64{8}}))
		if _, err := a.GetCompany(viewer, &operatorv1.GetCompanyRequest{CompanyId: 7}); connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("a viewer of another company: %v", err)
		}
	})
}
