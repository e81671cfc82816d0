package setupcmd

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/doctor"
)

// by is credentials for a named client, new or there already.
func (w *world) by(client string, more ...string) []string {
	return append([]string{"--url", w.url(), "--connector", "driver=ledger", "--client", client}, more...)
}

func (w *world) companies() company.Set {
	w.Helper()
	set, err := company.Load(w.path("companies.yaml"))
	w.must(err)
	return set
}

// The first company makes the client, and a further one needs its name alone.
func TestSetupMakesAClientAndUsesIt(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.does(2, "there is no client tieback in the companies file yet: give --client-id and --client-secret-file", w.by("tieback", "--yes")...)
	w.does(0, "create client tieback in the companies file", w.by("tieback", "--client-id", "client", "--client-secret-file", w.path("acme.secret"), "--yes")...)
	w.sound()
	const other = id + 1
	w.must(w.sandbox.AddCompany(sandbox.Company{ID: other, ClientID: "client", ClientSecret: clientSecret, StandardCostCodeListID: 3}))
	out := w.does(0, "keep   client tieback in the companies file", w.by("tieback", "--company", fmt.Sprint(int64(other)), "--yes")...)
	if !strings.Contains(out, "done: create trigger") {
		t.Errorf("the other company is not connected: %s", out)
	}
	set := w.companies()
	if set[id].Client != set[other].Client || set[id].Client.Name != "tieback" {
		t.Errorf("%v and %v", set[id].Client, set[other].Client)
	}
	w.secrets = append(w.secrets, strings.Fields(w.text(fmt.Sprintf("%d.webhook-tokens", int64(other))))...)
}

// A company with credentials of its own goes over to a client.
func TestACompanyGoesOverToAClient(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.connect()
	w.tokens()
	out := w.does(0, "change entry in the companies file", "--client", "tieback", "--client-id", "client", "--client-secret-file", w.path("acme.secret"), "--yes")
	if !strings.Contains(out, "client has changed") {
		t.Errorf("it does not say that services need a restart: %s", out)
	}
	if c := w.companies()[id].Client; c.Name != "tieback" || strings.Count(w.text("companies.yaml"), "client_id") != 1 {
		t.Errorf("%v in %s", c, w.text("companies.yaml"))
	}
	w.sound()
	w.does(2, "give --client tieback to change it for all of them", "--client-id", "another")
	w.must(os.Rename(w.path("acme.secret"), w.path("moved.secret")))
	w.does(0, "change client tieback in the companies file", "--client", "tieback", "--client-secret-file", w.path("moved.secret"), "--yes")
	w.sound()
}

// A client may have the hosts of another zone.
func TestSetupGivesAClientItsHosts(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	nowhere := "http://" + freePort(t)
	t.Setenv("TIEBACK_PROCORE_API_URL", nowhere)
	t.Setenv("TIEBACK_PROCORE_LOGIN_URL", nowhere)
	client := []string{"--client-id", "client", "--client-secret-file", w.path("acme.secret"), "--yes"}
	w.does(2, "--api-url and --login-url belong to a named client", append(w.credentials(), "--api-url", w.api, "--login-url", w.api)...)
	w.does(2, "login_url: is missing", w.by("federal", append(client, "--api-url", w.api)...)...)
	w.does(2, "--client: may only contain a-z", w.by("The Federal", client...)...)
	w.does(0, "done: create trigger", w.by("federal", append(client, "--api-url", w.api, "--login-url", w.api)...)...)
	if c := w.companies()[id].Client; c.APIURL != w.api || c.LoginURL != w.api {
		t.Errorf("%q %q", c.APIURL, c.LoginURL)
	}
	w.tokens()
}

// The doctor names linked projects that Procore does not show, and companies that have one client each for itself.
func TestTheDoctorNamesProjectsThatAreNotPermitted(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.broker("")
	w.connect()
	w.run()
	w.tokens()
	w.press()
	b, err := bus.Connect(t.Context(), bus.Options{URL: os.Getenv("TIEBACK_NATS_URL"), Name: "test", Log: zap.NewNop()})
	w.must(err)
	t.Cleanup(b.Close)
	var projects []int64
	for i := range 2 {
		project, err := w.sandbox.Mint(id, "project")
		w.must(err)
		w.must(state.Of(b).SaveLink(t.Context(), id, "project", project, state.Link{OriginID: fmt.Sprint("J-", i)}))
		projects = append(projects, project)
	}
	w.doctor().has("projects", doctor.OK, "among them all that have links")
	w.must(w.sandbox.Permit(id, projects[0]))
	w.doctor().has("projects", doctor.Warning, fmt.Sprintf("have links: %d. No event of theirs can be worked → in Procore an administrator", projects[1]))

	was := w.text("companies.yaml")
	w.write("companies.yaml", was+fmt.Sprintf("  - {id: 9, client_id: client, client_secret: %s, webhook_tokens: [0123456789abcdef], connector: {driver: ledger}}\n", clientSecret))
	w.doctor("--company", fmt.Sprint(int64(id))).has("companies file", doctor.Warning, "the companies 9, 598134325841112 have the same client_id")
}
