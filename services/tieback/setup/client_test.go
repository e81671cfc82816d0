package setup_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/state"
	"github.com/tieback/tieback/services/console/operator/doctor"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/internal/sitetest"
)

// by is credentials for a named client, new or there already.
func byClient(s *sitetest.Site, client string, more ...string) []string {
	return append([]string{"--url", s.URL(), "--connector", "driver=ledger", "--client", client}, more...)
}

func companies(s *sitetest.Site) company.Set {
	s.Helper()
	set, _, err := company.Load(s.Path("companies.yaml"))
	s.Must(err)
	return set
}

// The first company makes the client, and a further one needs its name alone.
func TestSetupMakesAClientAndUsesIt(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Expect(2, "there is no client tieback in the companies file yet: give --client-id and --client-secret-file", byClient(s, "tieback", "--yes")...)
	s.Expect(0, "create client tieback in the companies file", byClient(s, "tieback", "--client-id", "client", "--client-secret-file", s.Path("acme.secret"), "--yes")...)
	s.CheckSound()
	const other = sitetest.ID + 1
	s.Must(s.Sandbox.AddCompany(sandbox.Company{ID: other, ClientID: "client", ClientSecret: sitetest.ClientSecret, StandardCostCodeListID: 3}))
	out := s.Expect(0, "keep   client tieback in the companies file", byClient(s, "tieback", "--company", fmt.Sprint(int64(other)), "--yes")...)
	if !strings.Contains(out, "done: create trigger") {
		t.Errorf("the other company is not connected: %s", out)
	}
	set := companies(s)
	if set[sitetest.ID].Client != set[other].Client || set[sitetest.ID].Client.Name != "tieback" {
		t.Errorf("%v and %v", set[sitetest.ID].Client, set[other].Client)
	}
	s.Secrets = append(s.Secrets, strings.Fields(s.Text(fmt.Sprintf("%d.webhook-tokens", int64(other))))...)
}

// A company with credentials of its own goes over to a client.
func TestACompanyGoesOverToAClient(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Connect()
	s.Tokens()
	out := s.Expect(0, "change entry in the companies file", "--client", "tieback", "--client-id", "client", "--client-secret-file", s.Path("acme.secret"), "--yes")
	if !strings.Contains(out, "client has changed") {
		t.Errorf("it does not say that services need a restart: %s", out)
	}
	if c := companies(s)[sitetest.ID].Client; c.Name != "tieback" || strings.Count(s.Text("companies.yaml"), "client_id") != 1 {
		t.Errorf("%v in %s", c, s.Text("companies.yaml"))
	}
	s.CheckSound()
	s.Expect(2, "give --client tieback to change it for all of them", "--client-id", "another")
	s.Must(os.Rename(s.Path("acme.secret"), s.Path("moved.secret")))
	s.Expect(0, "change client tieback in the companies file", "--client", "tieback", "--client-secret-file", s.Path("moved.secret"), "--yes")
	s.CheckSound()
}

// A client may have the hosts of another zone.
func TestSetupGivesAClientItsHosts(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	nowhere := "http://" + sitetest.FreePort(t)
	t.Setenv("TIEBACK_PROCORE_API_URL", nowhere)
	t.Setenv("TIEBACK_PROCORE_LOGIN_URL", nowhere)
	client := []string{"--client-id", "client", "--client-secret-file", s.Path("acme.secret"), "--yes"}
	s.Expect(2, "--api-url and --login-url belong to a named client", append(s.Credentials(), "--api-url", s.API, "--login-url", s.API)...)
	s.Expect(2, "login_url: is missing", byClient(s, "federal", append(client, "--api-url", s.API)...)...)
	s.Expect(2, "--client: may only contain a-z", byClient(s, "The Federal", client...)...)
	s.Expect(0, "done: create trigger", byClient(s, "federal", append(client, "--api-url", s.API, "--login-url", s.API)...)...)
	if c := companies(s)[sitetest.ID].Client; c.APIURL != s.API || c.LoginURL != s.API {
		t.Errorf("%q %q", c.APIURL, c.LoginURL)
	}
	s.Tokens()
}

// The doctor names linked projects that Procore does not show, and companies that have one client each for itself.
func TestTheDoctorNamesProjectsThatAreNotPermitted(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Broker("")
	s.Connect()
	s.Start()
	s.Tokens()
	s.Press()
	b, err := bus.Connect(t.Context(), bus.Options{URL: os.Getenv("TIEBACK_NATS_URL"), Name: "test", Log: zap.NewNop()})
	s.Must(err)
	t.Cleanup(b.Close)
	var projects []int64
	for i := range 2 {
		project, err := s.Sandbox.CreateRecord(sitetest.ID, "project")
		s.Must(err)
		s.Must(state.Of(b).SaveLink(t.Context(), sitetest.ID, "project", project, state.Link{OriginID: fmt.Sprint("J-", i)}))
		projects = append(projects, project)
	}
	s.Doctor().Has("projects", doctor.OK, "including all with links")
	s.Must(s.Sandbox.Permit(sitetest.ID, projects[0]))
	s.Doctor().Has("projects", doctor.Warning, fmt.Sprintf("not these with links: %d. Their events can't be processed → have an administrator", projects[1]))

	was := s.Text("companies.yaml")
	s.Write("companies.yaml", was+fmt.Sprintf("  - {id: 9, client_id: client, client_secret: %s, webhook_tokens: [0123456789abcdef], connector: {driver: ledger}}\n", sitetest.ClientSecret))
	s.Doctor("--company", fmt.Sprint(sitetest.ID)).Has("companies file", doctor.Warning, "the companies 9, 598134325841112 have the same client_id")
}
