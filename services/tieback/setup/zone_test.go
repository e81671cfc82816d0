package setup_test

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/tieback/tieback/services/console/operator/doctor"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/internal/sitetest"
)

// project makes a project in Procore; the list of projects shows zone, and the project itself tz_name.
func addProject(s *sitetest.Site, origin, zone string) {
	s.Helper()
	s.Change("PATCH", "/rest/v1.0/projects/sync", fmt.Sprintf(`{"company_id":%d,"updates":[{"name":%[2]q,"origin_id":%[2]q,"time_zone":%[3]q}]}`, sitetest.ID, origin, zone))
}

func TestTheTimeZoneIsThatOfTheProjects(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	addProject(s, "A", "America/Chicago")
	addProject(s, "B", "America/Chicago")
	s.Connect()
	if !strings.Contains(s.Text("companies.yaml"), "time_zone: America/Chicago\n") {
		t.Errorf("no time zone: %s", s.Text("companies.yaml"))
	}
	s.Doctor().Has("time zone", doctor.OK, "America/Chicago")
}

func TestProjectsInSeveralTimeZonesLeaveItToAPerson(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	addProject(s, "A", "America/Chicago")
	addProject(s, "B", "America/Denver")
	s.Expect(0, "in several time zones (America/Chicago 1, America/Denver 1): give the company's with --time-zone", append(s.Credentials(), "--yes")...)
	if strings.Contains(s.Text("companies.yaml"), "time_zone") {
		t.Errorf("a guess: %s", s.Text("companies.yaml"))
	}
	s.Doctor().Has("time zone", doctor.Warning, "dates are read in UTC")
	s.Expect(2, "time_zone: must be the IANA name of a time zone", "--time-zone", "Mountain", "--yes")
	s.Expect(0, "done: change entry in the companies file", "--time-zone", "America/Denver", "--yes")
	s.Doctor().Has("time zone", doctor.OK, "America/Denver")
	s.Expect(0, "Nothing to change.")
}

// The list may have Rails' name of a zone; the project itself has the IANA one.
func TestATimeZoneOfRailsIsLookedUpInTheProject(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	addProject(s, "A", "Mountain Time (US & Canada)")
	api, err := url.Parse(s.API)
	s.Must(err)
	sandbox := httputil.NewSingleHostReverseProxy(api)
	s.Setenv("TIEBACK_PROCORE_API_URL", s.Serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/rest/v1.0/projects/") {
			_, _ = rw.Write([]byte(`{"id":1,"time_zone":"Mountain Time (US & Canada)","tz_name":"America/Denver"}`))
			return
		}
		sandbox.ServeHTTP(rw, r)
	})))
	s.Expect(0, "time zone is America/Denver", append(s.Credentials(), "--dry-run")...)
}
