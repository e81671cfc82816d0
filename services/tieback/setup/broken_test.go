package setup_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/internal/sitetest"
)

func TestAWrongSecret(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Write("acme.secret", "wrong-secret-wrong-secret")
	s.Secrets = append(s.Secrets, "wrong-secret-wrong-secret")
	s.Expect(1, "does not accept this client id and client secret", append(s.Credentials(), "--yes")...)
	if _, err := os.Stat(s.Path("companies.yaml")); err == nil {
		t.Error("rejected credentials were written to the companies file")
	}
	s.Write("acme.secret", sitetest.ClientSecret)
	s.Connect()
}

// The error names the variable with the wrong URL.
func TestUnreachableProcore(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	nowhere := "http://" + sitetest.FreePort(t)
	t.Setenv("TIEBACK_PROCORE_LOGIN_URL", nowhere)
	s.Expect(1, "TIEBACK_PROCORE_LOGIN_URL", append(s.Credentials(), "--yes")...)
	t.Setenv("TIEBACK_PROCORE_LOGIN_URL", s.API)
	t.Setenv("TIEBACK_PROCORE_API_URL", nowhere)
	s.Expect(1, "TIEBACK_PROCORE_API_URL", append(s.Credentials(), "--yes")...)
}

func TestNoPermission(t *testing.T) {
	for _, tool := range []sandbox.Tool{sandbox.ERPIntegrations, sandbox.Webhooks} {
		s := sitetest.New(t, sandbox.Config{})
		s.Must(s.Sandbox.Forbid(sitetest.ID, tool))
		s.Expect(1, "An administrator of the company in Procore must install the app", append(s.Credentials(), "--yes")...)
		s.Must(s.Sandbox.Forbid(sitetest.ID))
		s.Connect()
	}
}

func TestUnreachableConnector(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	args := append(s.Credentials(), "--yes", "--connector", "driver=remote,tls=off,timeout=100ms,address="+sitetest.FreePort(t))
	s.Expect(1, "Check that it is running", args...)
	if n := len(s.Sandbox.Writes()); n > 0 {
		t.Errorf("%d writes to Procore", n)
	}
	s.Connect()
}

// Procore fails during a step, before or after it has made the change. Another run continues.
func TestAnotherRunContinuesAfterAFailure(t *testing.T) {
	for _, step := range []struct{ name, path string }{
		{"the connection", "/erp_connections"}, {"the hook", "/webhooks/hooks"}, {"the trigger", "/triggers"},
	} {
		for _, kind := range []sandbox.FaultKind{sandbox.FaultReset, sandbox.FaultLoseAnswer, sandbox.FaultStatus} {
			t.Run(fmt.Sprint(step.name, " ", kind), func(t *testing.T) {
				s := sitetest.New(t, sandbox.Config{})
				s.Must(s.Sandbox.Fail(sandbox.FaultRule{Method: "POST", Path: step.path, Kind: kind, Status: 500}))
				s.Expect(1, "run it again", append(s.Credentials(), "--yes")...)
				s.Expect(0, "", "--yes")
				s.CheckSound() // nothing was created twice
			})
		}
	}
}

// A run that was interrupted after the tokens file was written leaves a token; the next run uses it.
func TestInterruptedBetweenTokenAndEntry(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	const left = "token-of-an-interrupted-run"
	s.Write(fmt.Sprintf("%d.webhook-tokens", sitetest.ID), left+"\n")
	s.Connect()
	if tokens := s.Tokens(); len(tokens) != 1 || tokens[0] != left {
		t.Errorf("the tokens are %v", tokens)
	}
}

// Procore documents no way to list connections.
func TestProcoreListsNoConnections(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Must(s.Sandbox.Fail(sandbox.FaultRule{Method: "GET", Path: "/erp_connections", Kind: sandbox.FaultStatus, Status: 404, Seconds: 3600}))
	s.Must(s.Sandbox.Fail(sandbox.FaultRule{Method: "POST", Path: "/erp_connections", Kind: sandbox.FaultLoseAnswer}))
	s.Expect(1, "run this again", append(s.Credentials(), "--yes")...)
	s.Expect(1, "--standard-cost-code-list N", "--yes") // the connection exists, but its list is unknown
	s.Expect(0, "done: create trigger", "--yes", "--standard-cost-code-list", "2")
	s.CheckSound()
	writes := len(s.Sandbox.Writes())
	s.Expect(0, "sent again", "--yes", "--send-metadata")
	if n := len(s.Sandbox.Writes()); n != writes+1 {
		t.Errorf("%d writes", n-writes)
	}
}

// A rotation that is interrupted and repeated while events arrive.
func TestRotateTheTokenWithoutLosingAnEvent(t *testing.T) {
	for _, view := range views {
		t.Run(fmt.Sprintf("headers: %q", view), func(t *testing.T) {
			s := sitetest.New(t, sandbox.Config{HookHeaders: view})
			s.Expect(0, "done: create trigger", append(s.Credentials(), "--yes")...)
			s.Start()
			s.Press()
			old := s.Tokens()[0]
			s.Must(s.Sandbox.Fail(sandbox.FaultRule{Method: "PATCH", Path: "/webhooks/hooks", Kind: sandbox.FaultReset}))
			s.Expect(1, "run it again", "--rotate-token", "--yes")
			if tokens := s.Tokens(); len(tokens) != 2 || tokens[0] != old {
				t.Fatalf("%d tokens in the file", len(tokens))
			}
			s.Press() // with the old one
			out := s.Expect(0, "done: change webhook hook", "--yes")
			s.Press() // with the new one
			if view != sandbox.Hidden {
				if !strings.Contains(out, "run tieback setup") {
					t.Errorf("the output does not say how to retire the old token: %s", out)
				}
				s.Expect(0, "done: remove older webhook token", "--yes")
			}
			if tokens := s.Tokens(); len(tokens) != 1 || tokens[0] == old {
				t.Errorf("%d tokens in the file", len(tokens))
			}
			s.Press()
			if view != sandbox.Hidden {
				s.Expect(0, "Nothing to change.")
			}
		})
	}
}
