package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	v1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/proto/tieback/operator/v1/operatorv1connect"
	"github.com/tieback/tieback/services/console/access"
)

// slowOverview takes a while to answer, or until ctx ends.
type slowOverview struct {
	operatorv1connect.UnimplementedOverviewServiceHandler
	takes    time.Duration
	overview *v1.Overview
	mu       sync.Mutex
	calls    int
}

func (h *slowOverview) GetOverview(ctx context.Context, _ *v1.GetOverviewRequest) (*v1.GetOverviewResponse, error) {
	h.mu.Lock()
	h.calls++
	h.mu.Unlock()
	select {
	case <-time.After(h.takes):
		return &v1.GetOverviewResponse{Overview: h.overview}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Viewers with the same rights share the content of a page for a second. Each has its own name in it, a refresh has only the
// content, and a page after an action is new.
func TestViewersSharePages(t *testing.T) {
	for _, path := range []string{"/", "/companies/7"} {
		synctest.Test(t, func(t *testing.T) {
			h := &slowOverview{takes: 100 * time.Millisecond, overview: &v1.Overview{At: ago(0), Companies: []*v1.CompanyState{{Id: 7, Name: "Acme", Served: true}}}}
			s := newSite(API{Overview: h, Companies: companiesOf{f: &fake{}}}, zap.NewNop())
			caller := func(name string, role access.Role) access.Caller {
				return access.NewCaller(name, access.Grant{Role: role, All: true})
			}
			refresh := func(r *http.Request) { r.Header.Set("HX-Request", "true") }
			count := func(n int, when string) {
				t.Helper()
				if h.calls != n {
					t.Errorf("%s: %d overviews of %s were read, want %d", when, h.calls, path, n)
				}
			}
			var all sync.WaitGroup
			for i := range 50 {
				all.Go(func() {
					page := visit(t, s, caller("Viewer "+string(rune('A'+i%26)), access.Viewer), http.MethodGet, path, nil).Body.String()
					if !strings.Contains(page, "Viewer "+string(rune('A'+i%26))) || !strings.Contains(page, "Acme") || strings.Contains(page, "/pause") {
						t.Errorf("viewer %d got %s", i, page)
					}
				})
			}
			all.Wait()
			count(1, "50 viewers at once")
			part := visit(t, s, caller("another", access.Viewer), http.MethodGet, path, nil, refresh).Body.String()
			if strings.Contains(part, "<html") || strings.Contains(part, "Viewer ") || !strings.Contains(part, "Acme") {
				t.Errorf("a refresh got %s", part)
			}
			count(1, "a refresh")
			page := visit(t, s, caller("operator", access.Operator), http.MethodGet, path, nil).Body.String()
			if path != "/" && !strings.Contains(page, "/pause") {
				t.Errorf("an operator got %s", page)
			}
			count(2, "other rights")
			visit(t, s, caller("viewer", access.Viewer), http.MethodGet, path+"?tz=Europe/Berlin", nil)
			count(3, "another time zone")
			visit(t, s, caller("operator", access.Operator), http.MethodPost, "/companies/7/pause", url.Values{"reason": {"test"}})
			visit(t, s, caller("operator", access.Operator), http.MethodGet, path, nil)
			count(4, "after an action")
			time.Sleep(partAge)
			visit(t, s, caller("operator", access.Operator), http.MethodGet, path, nil)
			count(5, "a second later")
		})
	}
}

// A page waits a minute for the API, or nine if Procore is asked. Then it says so.
func TestPagesHaveDeadlines(t *testing.T) {
	for path, want := range map[string]time.Duration{"/": time.Minute, "/companies/7": time.Minute, "/requests/7/1?ask=1": 9 * time.Minute, "/companies/7/checks": 9 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(API{Overview: &slowOverview{takes: time.Hour}, Requests: slowRequests{}, Companies: slowCompanies{}}, zap.NewNop())
			start := time.Now()
			w := visit(t, s, operator, http.MethodGet, path, nil)
			if took := time.Since(start); w.Code != http.StatusGatewayTimeout || took != want || !strings.Contains(w.Body.String(), "took too long") {
				t.Errorf("%s: %d after %v: %s", path, w.Code, took, w.Body)
			}
		})
	}
}

type slowRequests struct {
	operatorv1connect.UnimplementedRequestServiceHandler
}

func (slowRequests) GetRequest(ctx context.Context, _ *v1.GetRequestRequest) (*v1.GetRequestResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

type slowCompanies struct {
	operatorv1connect.UnimplementedCompanyServiceHandler
}

func (slowCompanies) Check(ctx context.Context, _ *v1.CheckRequest) (*v1.CheckResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
