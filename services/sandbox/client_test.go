package sandbox_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tieback/tieback/services/sandbox"
)

// newShared returns a sandbox with two companies that share a client.
func newShared(t *testing.T, cfg sandbox.Config) (*sandbox.Sandbox, *user) {
	t.Helper()
	sb := sandbox.New(cfg)
	for _, id := range []int64{mine, mine + 100} {
		if err := sb.AddCompany(sandbox.Company{ID: id, ClientID: fmt.Sprint("client", mine), ClientSecret: "hush"}); err != nil {
			t.Fatal(err)
		}
	}
	return sb, serve(t, sb)
}

// as calls the API for a company and returns the status and the remaining calls.
func (u *user) as(company int64) (status int, left string) {
	u.t.Helper()
	u.header = fmt.Sprint(company)
	status, _, header := u.do("GET", fmt.Sprintf("/rest/v1.0/companies/%d/erp_request_details", company), "")
	return status, header.Get("X-Rate-Limit-Remaining")
}

// A token is valid for all companies of a client. Config.LimitsPerCompany decides whether they share limits.
func TestCompaniesOfOneClient(t *testing.T) {
	for name, c := range map[string]struct {
		apart bool
		left  string
	}{"by client": {false, "24 23 22"}, "by company": {true, "24 24 23"}} {
		t.Run(name, func(t *testing.T) {
			_, u := newShared(t, sandbox.Config{LimitsPerCompany: c.apart})
			var left []string
			for _, id := range []int64{mine, mine + 100, mine} {
				status, remains := u.as(id)
				if status != http.StatusOK {
					t.Errorf("company %d is answered %d", id, status)
				}
				left = append(left, remains)
			}
			if got := strings.Join(left, " "); got != c.left {
				t.Errorf("Remaining is %s, want %s", got, c.left)
			}
			if status, _ := u.as(mine + 1); status != http.StatusForbidden {
				t.Errorf("a company without the app is answered %d", status)
			}
		})
	}
}

func TestCompaniesOfOneClientHaveOneSecret(t *testing.T) {
	sb, u := newShared(t, sandbox.Config{})
	if err := sb.AddCompany(sandbox.Company{ID: 999, ClientID: fmt.Sprint("client", mine), ClientSecret: "other"}); err == nil || !strings.Contains(err.Error(), "client_secret") {
		t.Errorf("a company with another secret: %v", err)
	}
	if err := sb.RotateSecret(mine+100, "next"); err != nil {
		t.Fatal(err)
	}
	if status, _ := u.as(mine); status != http.StatusUnauthorized {
		t.Errorf("after a rotation the old token is answered %d", status)
	}
}

// A project that is not permitted is not visible.
func TestPermittedProjects(t *testing.T) {
	sb, u := newShared(t, sandbox.Config{})
	var projects []int64
	for range 2 {
		id, err := sb.CreateRecord(mine, "project")
		if err != nil {
			t.Fatal(err)
		}
		projects = append(projects, id)
	}
	list := fmt.Sprintf("/rest/v1.0/projects?company_id=%d", int64(mine))
	if status, body, _ := u.do("GET", list, ""); status != http.StatusOK || strings.Count(body, `"id"`) != 2 {
		t.Errorf("%d %s", status, body)
	}
	if err := sb.Permit(mine, projects[0]); err != nil {
		t.Fatal(err)
	}
	if _, body, _ := u.do("GET", list, ""); !strings.Contains(body, fmt.Sprint(projects[0])) || strings.Contains(body, fmt.Sprint(projects[1])) {
		t.Errorf("listed are %s", body)
	}
	if status, body, _ := u.do("GET", fmt.Sprintf("/rest/v1.0/sub_jobs?project_id=%d", projects[1]), ""); status != http.StatusNotFound {
		t.Errorf("its sub jobs: %d %s", status, body)
	}
}
