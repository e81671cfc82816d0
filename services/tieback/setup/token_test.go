package setup_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/internal/sitetest"
	"github.com/tieback/tieback/services/tieback/setup"
)

// shortPatience makes setup wait for ingest for 300 ms only.
func shortPatience(t *testing.T) {
	*setup.Patience = 300 * time.Millisecond
	t.Cleanup(func() { *setup.Patience = 0 })
}

// views are the ways in which Procore may show a hook's header: masked, whole, or not at all.
var views = []string{"", sandbox.Plain, sandbox.Hidden}

// A rotation waits until ingest accepts the new token. If it never does, the hook and the file keep the old token, however
// often setup runs.
func TestHookKeepsItsTokenUntilIngestAcceptsTheNewOne(t *testing.T) {
	for _, view := range views {
		t.Run(fmt.Sprintf("headers: %q", view), func(t *testing.T) {
			s := sitetest.New(t, sandbox.Config{HookHeaders: view})
			s.Expect(0, "done: create trigger", append(s.Credentials(), "--yes")...)
			old := s.Tokens()[0]
			s.Write("frozen.yaml", strings.ReplaceAll(s.Text("companies.yaml"), ".webhook-tokens", ".frozen-tokens"))
			s.Write(fmt.Sprintf("%d.frozen-tokens", sitetest.ID), old)
			t.Setenv("TIEBACK_COMPANIES", s.Path("frozen.yaml"))
			s.Start() // with a copy of the files, as where a mount is not renewed
			t.Setenv("TIEBACK_COMPANIES", s.Path("companies.yaml"))
			shortPatience(t)
			s.Expect(1, "does not accept the new webhook token", "--rotate-token", "--yes")
			s.Expect(1, "the newest file of webhook token hashes, which setup wrote to "+s.Path("webhooks/webhooks.json"), "--rotate-token", "--yes") // as it says: run this again
			s.Expect(1, "does not accept the new webhook token", "--yes")
			if tokens := s.Tokens(); len(tokens) != 2 || tokens[0] != old {
				t.Errorf("the file holds %d tokens", len(tokens))
			}
			s.Press()
			s.Write(fmt.Sprintf("%d.frozen-tokens", sitetest.ID), strings.Join(s.Tokens(), "\n")) // the mount is renewed
			*setup.Patience = 30 * time.Second
			s.Expect(0, "done: change webhook hook", "--yes")
			s.Press()
		})
	}
}

// A lost tokens file is created again. The hook keeps the lost token while ingest accepts only that one.
func TestLostTokensFile(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Connect()
	lost := s.Tokens()[0]
	s.Write("frozen.yaml", strings.ReplaceAll(s.Text("companies.yaml"), ".webhook-tokens", ".frozen-tokens"))
	s.Write(fmt.Sprintf("%d.frozen-tokens", sitetest.ID), lost)
	t.Setenv("TIEBACK_COMPANIES", s.Path("frozen.yaml"))
	s.Start()
	t.Setenv("TIEBACK_COMPANIES", s.Path("companies.yaml"))
	shortPatience(t)
	s.Must(os.Remove(s.Path(fmt.Sprintf("%d.webhook-tokens", sitetest.ID))))
	for range 2 {
		s.Expect(1, "does not accept the new webhook token", "--yes")
		s.Tokens()
		if s.HookToken() != lost {
			t.Fatal("the hook sends a token that ingest does not accept")
		}
	}
	s.Press()
}

// If ingest refuses the token that the hook sends, a note names the file that ingest needs.
func TestNoteNamesTheFileThatIngestNeeds(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Connect()
	s.Write("frozen.yaml", strings.ReplaceAll(s.Text("companies.yaml"), ".webhook-tokens", ".frozen-tokens"))
	s.Write(fmt.Sprintf("%d.frozen-tokens", sitetest.ID), s.Tokens()[0])
	t.Setenv("TIEBACK_COMPANIES", s.Path("frozen.yaml"))
	s.Start()
	t.Setenv("TIEBACK_COMPANIES", s.Path("companies.yaml"))
	s.Expect(0, "does not accept this company's webhook token: it needs the newest file of webhook token hashes, which setup wrote to "+
		s.Path("webhooks/webhooks.json"), "--rotate-token", "--without-ingest", "--yes")
}

// If ingest is unreachable, a rotation needs --without-ingest.
func TestRotationWithoutIngest(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Connect() // ingest does not run
	old := s.Tokens()[0]
	for range 2 {
		s.Expect(1, "can't be reached", "--rotate-token", "--yes")
		if tokens := s.Tokens(); len(tokens) != 2 || s.HookToken() != old {
			t.Fatalf("%d tokens, or the hook was changed", len(tokens))
		}
	}
	s.Expect(0, "done: change webhook hook", "--without-ingest", "--yes")
	if s.HookToken() != s.Tokens()[1] {
		t.Error("the hook does not send the newest token")
	}
	s.Expect(0, "done: remove older webhook token", "--yes")
	s.CheckSound()
}

// If Procore does not show the header, a hook may send any token after an interrupted run.
func TestHiddenHookGetsItsTokenAgain(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{HookHeaders: sandbox.Hidden})
	s.Expect(0, "done: create trigger", append(s.Credentials(), "--yes")...)
	s.Tokens()
	s.Must(os.Remove(s.Path(fmt.Sprintf("%d.webhook-tokens", sitetest.ID))))
	s.Must(s.Sandbox.Fail(sandbox.FaultRule{Method: "PATCH", Path: "/webhooks/hooks", Kind: sandbox.FaultReset}))
	s.Expect(1, "run it again", "--yes")
	s.Expect(0, "done: change webhook hook", "--yes")
	s.Tokens()
	s.Start()
	s.Press()
}

// If Procore does not list a hook's deliveries, some may be pending and need the older token.
func TestHookWithUnknownDeliveriesStays(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Connect()
	s.Start()
	const hooks = "/rest/v1.0/webhooks/hooks"
	s.Change("POST", hooks, fmt.Sprintf(`{"company_id":%d,"hook":{"api_version":"v2.0","namespace":"tieback","destination_url":"http://elsewhere/x"}}`, sitetest.ID))
	for _, status := range []int{403, 404} {
		s.Must(s.Sandbox.Fail(sandbox.FaultRule{Method: "GET", Path: "/deliveries", Kind: sandbox.FaultStatus, Status: status, Seconds: 3600}))
		s.Expect(0, "is a duplicate and stays", "--yes")
		if n := len(s.Hooks()); n != 2 {
			t.Fatalf("%d: %d hooks", status, n)
		}
		s.Sandbox.Heal()
	}
	s.Expect(0, "done: remove webhook hook", "--yes")
	s.Expect(0, "done: change webhook hook", "--rotate-token", "--yes")
	s.Must(s.Sandbox.Fail(sandbox.FaultRule{Method: "GET", Path: "/deliveries", Kind: sandbox.FaultStatus, Status: 404, Seconds: 3600}))
	s.Expect(0, "the older webhook token stays", "--yes")
	if n := len(s.Tokens()); n != 2 {
		t.Errorf("%d tokens", n)
	}
}

// While one setup asks for confirmation, another one completes. The first one then changes nothing.
func TestOvertakenSetupChangesNothing(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	plan := func(o setup.Options) *setup.Plan {
		cmd := setup.Command()
		cmd.SetContext(s.Context())
		deps, done, err := setup.DepsOf(cmd)
		s.Must(err)
		s.Cleanup(done)
		o.Company = sitetest.ID
		p, err := setup.Make(s.Context(), deps, o)
		s.Must(err)
		return p
	}
	overtaken := plan(setup.Options{
		URL: s.URL(), Name: "Acme Builders", ClientID: "client", ClientSecretFile: s.Path("acme.secret"), Connector: map[string]string{"driver": "ledger"},
	})
	s.Connect()
	if err := overtaken.Apply(s.Context(), func(setup.Step) {}); err == nil || !strings.Contains(err.Error(), "run this again") {
		t.Errorf("the overtaken setup ended with %v", err)
	}
	s.CheckSound() // the hook sends what the file says
	s.Start()
	overtaken = plan(setup.Options{RotateToken: true})
	s.Expect(0, "done: change webhook hook", "--rotate-token", "--yes")
	if err := overtaken.Apply(s.Context(), func(setup.Step) {}); err == nil || !strings.Contains(err.Error(), "run this again") {
		t.Errorf("the overtaken rotation ended with %v", err)
	}
	if tokens := s.Tokens(); s.HookToken() != tokens[len(tokens)-1] {
		t.Error("the hook sends a token that is not in the file")
	}
	s.Press()
}

// Running services keep the hook's namespace that they started with.
func TestAnotherNamespaceNeedsARestart(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Connect()
	s.Expect(0, "Restart the services now: webhook_namespace has changed", "--namespace", "tieback-two", "--yes")
}
