package setupcmd

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/services/sandbox"
)

func (w *world) eventually(is func() bool) {
	w.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatal("it never happened")
		}
	}
}

func TestAWrongSecret(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.write("acme.secret", "wrong-secret-wrong-secret")
	w.secrets = append(w.secrets, "wrong-secret-wrong-secret")
	w.does(1, "does not accept this client id and client secret", append(w.credentials(), "--yes")...)
	if _, err := os.Stat(w.path("companies.yaml")); err == nil {
		t.Error("credentials that open nothing were written to the companies file")
	}
	w.write("acme.secret", clientSecret)
	w.connect()
}

// Whoever mistyped a URL is told which variable has it.
func TestAProcoreThatIsNotThere(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	nowhere := "http://" + freePort(t)
	t.Setenv("TIEBACK_PROCORE_LOGIN_URL", nowhere)
	w.does(1, "TIEBACK_PROCORE_LOGIN_URL", append(w.credentials(), "--yes")...)
	t.Setenv("TIEBACK_PROCORE_LOGIN_URL", w.api)
	t.Setenv("TIEBACK_PROCORE_API_URL", nowhere)
	w.does(1, "TIEBACK_PROCORE_API_URL", append(w.credentials(), "--yes")...)
}

func TestNoPermission(t *testing.T) {
	for _, tool := range []sandbox.Tool{sandbox.ERPIntegrations, sandbox.Webhooks} {
		w := newWorld(t, sandbox.Config{})
		w.must(w.sandbox.Forbid(id, tool))
		w.does(1, "An administrator of the company in Procore must install the app", append(w.credentials(), "--yes")...)
		w.must(w.sandbox.Forbid(id))
		w.connect()
	}
}

func TestAConnectorThatIsDown(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	args := append(w.credentials(), "--yes", "--connector", "driver=remote,tls=off,timeout=100ms,address="+freePort(t))
	w.does(1, "Check that it is running", args...)
	if n := len(w.sandbox.Writes()); n > 0 {
		t.Errorf("%d writes to Procore", n)
	}
	w.connect()
}

// Procore fails in the midst of each step, before or after it did the work; another run goes on.
func TestBrokenOffInAnyStep(t *testing.T) {
	for _, step := range []struct{ name, path string }{
		{"the connection", "/erp_connections"}, {"the hook", "/webhooks/hooks"}, {"the trigger", "/triggers"},
	} {
		for _, kind := range []sandbox.FaultKind{sandbox.FaultReset, sandbox.FaultLoseAnswer, sandbox.FaultStatus} {
			t.Run(fmt.Sprint(step.name, " ", kind), func(t *testing.T) {
				w := newWorld(t, sandbox.Config{})
				w.must(w.sandbox.Fail(sandbox.FaultRule{Method: "POST", Path: step.path, Kind: kind, Status: 500}))
				w.does(1, "run it again", append(w.credentials(), "--yes")...)
				w.does(0, "", "--yes")
				w.sound() // nothing is there twice
			})
		}
	}
}

// What was cut off between two files is used by the next run.
func TestCutOffBetweenTheTokenAndTheEntry(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	const left = "token-that-was-left-by-a-run-that-was-cut-off"
	w.write(fmt.Sprintf("%d.webhook-tokens", int64(id)), left+"\n")
	w.connect()
	if tokens := w.tokens(); len(tokens) != 1 || tokens[0] != left {
		t.Errorf("the tokens are %v", tokens)
	}
}

// Procore documents no way to list connections.
func TestAProcoreThatShowsNoConnection(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.must(w.sandbox.Fail(sandbox.FaultRule{Method: "GET", Path: "/erp_connections", Kind: sandbox.FaultStatus, Status: 404, Seconds: 3600}))
	w.must(w.sandbox.Fail(sandbox.FaultRule{Method: "POST", Path: "/erp_connections", Kind: sandbox.FaultLoseAnswer}))
	w.does(1, "run this again", append(w.credentials(), "--yes")...)
	w.does(1, "--standard-cost-code-list N", "--yes") // it is there, and nobody says its list
	w.does(0, "done: create trigger", "--yes", "--standard-cost-code-list", "2")
	w.sound()
	writes := len(w.sandbox.Writes())
	w.does(0, "sent again", "--yes", "--send-metadata")
	if n := len(w.sandbox.Writes()); n != writes+1 {
		t.Errorf("%d writes", n-writes)
	}
}

// A token is rotated while events come, broken off in the midst of it.
func TestRotateTheTokenWithoutLosingAnEvent(t *testing.T) {
	for _, view := range views {
		t.Run(fmt.Sprintf("headers: %q", view), func(t *testing.T) {
			w := newWorld(t, sandbox.Config{HookHeaders: view})
			w.does(0, "done: create trigger", append(w.credentials(), "--yes")...)
			w.run()
			w.press()
			old := w.tokens()[0]
			w.must(w.sandbox.Fail(sandbox.FaultRule{Method: "PATCH", Path: "/webhooks/hooks", Kind: sandbox.FaultReset}))
			w.does(1, "run it again", "--rotate-token", "--yes")
			if tokens := w.tokens(); len(tokens) != 2 || tokens[0] != old {
				t.Fatalf("%d tokens in the file", len(tokens))
			}
			w.press() // with the old one
			out := w.does(0, "done: change webhook hook", "--yes")
			w.press() // with the new one
			if view != sandbox.Hidden {
				if !strings.Contains(out, "run tieback setup") {
					t.Errorf("nobody says how the old one goes: %s", out)
				}
				w.does(0, "done: remove older webhook token", "--yes")
			}
			if tokens := w.tokens(); len(tokens) != 1 || tokens[0] == old {
				t.Errorf("%d tokens in the file", len(tokens))
			}
			w.press()
			if view != sandbox.Hidden {
				w.does(0, "Nothing to change.")
			}
		})
	}
}
