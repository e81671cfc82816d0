package setupcmd

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/setup"
)

// impatient has setup wait a moment only for ingest.
func impatient(t *testing.T) {
	patience = 300 * time.Millisecond
	t.Cleanup(func() { patience = 0 })
}

// sends is the token that the company's one hook sends.
func (w *world) sends() string {
	w.Helper()
	hook, err := w.hooks()[0]["id"].(json.Number).Int64()
	w.must(err)
	return w.sandbox.HookToken(hook)
}

// views are the ways in which Procore may show a hook's header: masked, whole, or not at all.
var views = []string{"", sandbox.Plain, sandbox.Hidden}

// A rotation waits until ingest takes the new token; where it never does, the hook keeps the old one, and the old
// one stays, however often setup is run.
func TestARotationThatIngestDoesNotSeeNeverReachesTheHook(t *testing.T) {
	for _, view := range views {
		t.Run(fmt.Sprintf("headers: %q", view), func(t *testing.T) {
			w := newWorld(t, sandbox.Config{HookHeaders: view})
			w.does(0, "done: create trigger", append(w.credentials(), "--yes")...)
			old := w.tokens()[0]
			w.write("frozen.yaml", strings.ReplaceAll(w.text("companies.yaml"), ".webhook-tokens", ".frozen-tokens"))
			w.write(fmt.Sprintf("%d.frozen-tokens", int64(id)), old)
			t.Setenv("TIEBACK_COMPANIES", w.path("frozen.yaml"))
			w.run() // with a copy of the files, as where a mount is not renewed
			t.Setenv("TIEBACK_COMPANIES", w.path("companies.yaml"))
			impatient(t)
			w.does(1, "does not accept the new webhook token", "--rotate-token", "--yes")
			w.does(1, "does not accept the new webhook token", "--rotate-token", "--yes") // as it says: run this again
			w.does(1, "does not accept the new webhook token", "--yes")
			if tokens := w.tokens(); len(tokens) != 2 || tokens[0] != old {
				t.Errorf("the file holds %d tokens", len(tokens))
			}
			w.press()
			w.write(fmt.Sprintf("%d.frozen-tokens", int64(id)), strings.Join(w.tokens(), "\n")) // the mount is renewed
			patience = 30 * time.Second
			w.does(0, "done: change webhook hook", "--yes")
			w.press()
		})
	}
}

// A tokens file that was lost is made anew, and the hook waits for the ingest that still takes the lost token.
func TestALostTokensFileLeavesAHookThatWorks(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.connect()
	lost := w.tokens()[0]
	w.write("frozen.yaml", strings.ReplaceAll(w.text("companies.yaml"), ".webhook-tokens", ".frozen-tokens"))
	w.write(fmt.Sprintf("%d.frozen-tokens", int64(id)), lost)
	t.Setenv("TIEBACK_COMPANIES", w.path("frozen.yaml"))
	w.run()
	t.Setenv("TIEBACK_COMPANIES", w.path("companies.yaml"))
	impatient(t)
	w.must(os.Remove(w.path(fmt.Sprintf("%d.webhook-tokens", int64(id)))))
	for range 2 {
		w.does(1, "does not accept the new webhook token", "--yes")
		w.tokens()
		if w.sends() != lost {
			t.Fatal("the hook sends a token that ingest does not take")
		}
	}
	w.press()
}

// Where nobody can ask ingest, a rotation goes on only when somebody says so.
func TestARotationWithoutIngestIsOnlyMadeOnRequest(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.connect() // ingest does not run
	old := w.tokens()[0]
	for range 2 {
		w.does(1, "can't be reached", "--rotate-token", "--yes")
		if tokens := w.tokens(); len(tokens) != 2 || w.sends() != old {
			t.Fatalf("%d tokens, or the hook was changed", len(tokens))
		}
	}
	w.does(0, "done: change webhook hook", "--without-ingest", "--yes")
	if w.sends() != w.tokens()[1] {
		t.Error("the hook does not send the newest token")
	}
	w.does(0, "done: remove older webhook token", "--yes")
	w.sound()
}

// A hook that Procore does not show the header of may send anything after a run that was broken off.
func TestAHiddenHookIsToldItsTokenAgainAfterABreak(t *testing.T) {
	w := newWorld(t, sandbox.Config{HookHeaders: sandbox.Hidden})
	w.does(0, "done: create trigger", append(w.credentials(), "--yes")...)
	w.tokens()
	w.must(os.Remove(w.path(fmt.Sprintf("%d.webhook-tokens", int64(id)))))
	w.must(w.sandbox.Fail(sandbox.FaultRule{Method: "PATCH", Path: "/webhooks/hooks", Kind: sandbox.FaultReset}))
	w.does(1, "run it again", "--yes")
	w.does(0, "done: change webhook hook", "--yes")
	w.tokens()
	w.run()
	w.press()
}

// Procore need not say how a hook's deliveries go; then some may wait in it, and need the older token.
func TestWhatMayHoldDeliveriesStays(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.connect()
	w.run()
	const hooks = "/rest/v1.0/webhooks/hooks"
	w.changes("POST", hooks, fmt.Sprintf(`{"company_id":%d,"hook":{"api_version":"v2.0","namespace":"tieback","destination_url":"http://elsewhere/x"}}`, int64(id)))
	for _, status := range []int{403, 404} {
		w.must(w.sandbox.Fail(sandbox.FaultRule{Method: "GET", Path: "/deliveries", Kind: sandbox.FaultStatus, Status: status, Seconds: 3600}))
		w.does(0, "is a duplicate and stays", "--yes")
		if n := len(w.hooks()); n != 2 {
			t.Fatalf("%d: %d hooks", status, n)
		}
		w.sandbox.Heal()
	}
	w.does(0, "done: remove webhook hook", "--yes")
	w.does(0, "done: change webhook hook", "--rotate-token", "--yes")
	w.must(w.sandbox.Fail(sandbox.FaultRule{Method: "GET", Path: "/deliveries", Kind: sandbox.FaultStatus, Status: 404, Seconds: 3600}))
	w.does(0, "the older webhook token stays", "--yes")
	if n := len(w.tokens()); n != 2 {
		t.Errorf("%d tokens", n)
	}
}

// While one setup asks "Do this?", another runs to its end: what it made stands.
func TestASetupThatWasOvertakenChangesNothing(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	plan := func(o setup.Options) *setup.Plan {
		cmd := Command()
		cmd.SetContext(w.Context())
		deps, done, err := depsOf(cmd)
		w.must(err)
		w.Cleanup(done)
		o.Company = id
		p, err := setup.Make(w.Context(), deps, o)
		w.must(err)
		return p
	}
	overtaken := plan(setup.Options{
		URL: w.url(), Name: "Acme Builders", ClientID: "client", ClientSecretFile: w.path("acme.secret"), Connector: map[string]string{"driver": "ledger"},
	})
	w.connect()
	if err := overtaken.Apply(w.Context(), func(setup.Step) {}); err == nil || !strings.Contains(err.Error(), "run this again") {
		t.Errorf("the overtaken setup ended with %v", err)
	}
	w.sound() // the hook sends what the file says
	w.run()
	overtaken = plan(setup.Options{RotateToken: true})
	w.does(0, "done: change webhook hook", "--rotate-token", "--yes")
	if err := overtaken.Apply(w.Context(), func(setup.Step) {}); err == nil || !strings.Contains(err.Error(), "run this again") {
		t.Errorf("the overtaken rotation ended with %v", err)
	}
	if tokens := w.tokens(); w.sends() != tokens[len(tokens)-1] {
		t.Error("the hook sends a token that is not in the file")
	}
	w.press()
}

// Running services keep the hook's namespace that they started with.
func TestAnotherNamespaceAsksForARestart(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.connect()
	w.does(0, "Restart the services now: webhook_namespace has changed", "--namespace", "tieback-two", "--yes")
}
