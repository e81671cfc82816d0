package setupcmd

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/doctor"
)

// project makes a project in Procore; the list of projects shows zone, and the project itself tz_name.
func (w *world) project(origin, zone string) {
	w.Helper()
	w.changes("PATCH", "/rest/v1.0/projects/sync", fmt.Sprintf(`{"company_id":%d,"updates":[{"name":%[2]q,"origin_id":%[2]q,"time_zone":%[3]q}]}`, int64(id), origin, zone))
}

func TestTheTimeZoneIsThatOfTheProjects(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.project("A", "America/Chicago")
	w.project("B", "America/Chicago")
	w.connect()
	if !strings.Contains(w.text("companies.yaml"), "time_zone: America/Chicago\n") {
		t.Errorf("no time zone: %s", w.text("companies.yaml"))
	}
	w.doctor().has("time zone", doctor.OK, "America/Chicago")
}

func TestProjectsInSeveralTimeZonesLeaveItToAPerson(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.project("A", "America/Chicago")
	w.project("B", "America/Denver")
	w.does(0, "in several time zones (America/Chicago 1, America/Denver 1): give it with --time-zone", append(w.credentials(), "--yes")...)
	if strings.Contains(w.text("companies.yaml"), "time_zone") {
		t.Errorf("a guess: %s", w.text("companies.yaml"))
	}
	w.doctor().has("time zone", doctor.Warning, "dates are read in UTC")
	w.does(2, "time_zone: must be the IANA name of a time zone", "--time-zone", "Mountain", "--yes")
	w.does(0, "done: change entry in the companies file", "--time-zone", "America/Denver", "--yes")
	w.doctor().has("time zone", doctor.OK, "America/Denver")
	w.does(0, "Nothing to change.")
}

// The list may have Rails' name of a zone; the project itself has the IANA one.
func TestATimeZoneOfRailsIsLookedUpInTheProject(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.project("A", "Mountain Time (US & Canada)")
	api, err := url.Parse(w.api)
	w.must(err)
	sandbox := httputil.NewSingleHostReverseProxy(api)
	w.Setenv("TIEBACK_PROCORE_API_URL", w.serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/rest/v1.0/projects/") {
			_, _ = rw.Write([]byte(`{"id":1,"time_zone":"Mountain Time (US & Canada)","tz_name":"America/Denver"}`))
			return
		}
		sandbox.ServeHTTP(rw, r)
	})))
	w.does(0, "time zone is America/Denver", append(w.credentials(), "--dry-run")...)
}
