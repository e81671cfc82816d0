package setupcmd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/webhooks"
	"github.com/tieback/tieback/services/sandbox"
)

func TestFromCredentialsToTheFirstEvent(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	if out := w.does(0, "5 to create", append(w.credentials(), "--dry-run")...); strings.Contains(out, "done:") {
		t.Errorf("a dry run did something: %s", out)
	}
	if _, err := os.Stat(w.path("companies.yaml")); err == nil || len(w.sandbox.Writes()) > 0 {
		t.Error("a dry run wrote something")
	}
	w.does(2, "not a terminal", w.credentials()...)
	out := w.does(0, "Restart the services now: the company is new", append(w.credentials(), "--yes")...)
	if !strings.Contains(out, "could not be reached") {
		t.Errorf("nobody says that ingest does not answer: %s", out)
	}
	w.sound()
	for _, name := range []string{"companies.yaml", fmt.Sprintf("%d.webhook-tokens", int64(id))} {
		if info, err := os.Stat(w.path(name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	if token := w.tokens()[0]; len(token) != 64 {
		t.Errorf("the webhook token has %d characters", len(token))
	}
	hashes, err := webhooks.Read(w.path("webhooks/webhooks.json"))
	if err != nil || !hashes.Authentic(id, string(w.tokens()[0])) {
		t.Errorf("ingest does not learn the webhook token: %v", err)
	}
	w.must(os.Remove(w.path("webhooks/webhooks.json")))
	w.does(0, "webhook hashes for ingest", "--yes")
	w.run()
	w.press()
	w.does(0, "accepts the webhook token")
	const synced = "PATCH /rest/v1.0/companies/{company_id}/erp_connections/metadata"
	_, err = w.sandbox.Press(id, "sync_metadata", nil)
	w.must(err)
	w.eventually(func() bool { return w.sandbox.Counts()[synced] == 1 })
	w.does(0, "Nothing to change.") // it sent the same document
}

func TestJSON(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	out := w.does(0, "", append(w.credentials(), "--yes", "-o", "json")...)
	var d struct {
		Company int64
		Changes int
		DryRun  bool `json:"dry_run"`
		Restart []string
		Steps   []struct {
			Action, What string
			Done         bool
		}
	}
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if d.Company != id || d.Changes != 5 || d.DryRun || len(d.Restart) != 1 || len(d.Steps) != 5 || !d.Steps[4].Done || d.Steps[4].Action != "create" {
		t.Errorf("%+v", d)
	}
}

// Whatever somebody did to it since, another run puts it right in place.
func TestWhatDriftedIsRepaired(t *testing.T) {
	const hooks = "/rest/v1.0/webhooks/hooks"
	hook := func(w *world) string { return fmt.Sprintf("%s/%v", hooks, w.hooks()[0]["id"]) }
	trigger := func(w *world) string {
		return fmt.Sprintf("%s/triggers/%v", hook(w), w.triggers(w.hooks()[0]["id"])[0]["id"])
	}
	for name, c := range map[string]struct {
		drift func(w *world)
		says  string
	}{
		"another address": {func(w *world) {
			w.changes("PATCH", hook(w), `{"company_id":598134325841112,"hook":{"destination_url":"http://elsewhere/x"}}`)
		}, "~ change webhook hook"},
		"another header": {func(w *world) {
			w.changes("PATCH", hook(w), `{"company_id":598134325841112,"hook":{"destination_headers":{"Authorization":"Bearer somebody-elses-token"}}}`)
		}, "does not send the newest webhook token"},
		"no trigger": {func(w *world) { w.changes("DELETE", trigger(w), "") }, "+ create trigger"},
		"another trigger": {func(w *world) {
			w.changes("PATCH", trigger(w), `{"company_id":598134325841112,"trigger":{"resource_name":"Projects"}}`)
		}, "+ create trigger"},
		"two triggers": {func(w *world) {
			w.changes("POST", hook(w)+"/triggers", `{"company_id":598134325841112,"trigger":{"resource_name":"ERP Requests","event_type":"create"}}`)
		}, "it exists twice"},
		"no hook": {func(w *world) { w.changes("DELETE", hook(w), "") }, "+ create webhook hook"},
		"two hooks": {func(w *world) {
			w.changes("POST", hooks, `{"company_id":598134325841112,"hook":{"api_version":"v2.0","namespace":"tieback","destination_url":"http://elsewhere/x"}}`)
		}, "a duplicate in the namespace tieback, to http://elsewhere/x"},
		"other metadata": {func(w *world) {
			w.changes("PATCH", "/rest/v1.0/companies/598134325841112/erp_connections/metadata", `{"metadata":{"settings":{"labels":{"name":"Old"}}}}`)
		}, "~ change ERP metadata"},
		"the list's id": {func(w *world) {
			w.write("companies.yaml", strings.Replace(w.text("companies.yaml"), "list_id: 2", "list_id: 3", 1))
		}, "~ change standard_cost_code_list_id"},
		"the token": {func(w *world) { w.must(os.Remove(w.path("598134325841112.webhook-tokens"))) }, "+ create webhook token"},
		"the entry": {func(w *world) {
			kept := "companies:\n  # ours\n  - {id: 8, client_id: c, client_secret: s, webhook_tokens: [token-of-eight-token], connector: {driver: ledger}}\n"
			w.write("companies.yaml", kept)
			w.Cleanup(func() {
				if text := w.text("companies.yaml"); !strings.Contains(text, "# ours") || !strings.Contains(text, "token-of-eight-token") {
					w.Errorf("another company's entry is gone: %s", text)
				}
			})
		}, "+ create entry"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, sandbox.Config{})
			w.connect()
			w.tokens()
			c.drift(w)
			args := []string{"--yes"}
			if name == "the entry" {
				args = append(w.credentials(), args...)
			}
			w.does(0, c.says, args...)
			if name == "another trigger" { // which is nobody else's business, and so stays
				triggers := w.triggers(w.hooks()[0]["id"])
				if len(triggers) != 2 {
					t.Fatalf("%v", triggers)
				}
				w.changes("DELETE", trigger(w), "")
			}
			w.sound()
		})
	}
}

// A hook with deliveries in its queue is not deleted: they would be lost.
func TestADuplicateWithDeliveriesWaitingStays(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.connect()
	const hooks = "/rest/v1.0/webhooks/hooks"
	gone := "http://" + freePort(t)
	w.changes("POST", hooks, fmt.Sprintf(`{"company_id":%d,"hook":{"api_version":"v2.0","namespace":"tieback","destination_url":%q}}`, int64(id), gone))
	second := w.hooks()[1]["id"]
	w.changes("POST", fmt.Sprintf("%s/%v/triggers", hooks, second), `{"company_id":598134325841112,"trigger":{"resource_name":"ERP Requests","event_type":"create"}}`)
	w.run()
	w.press()
	w.eventually(func() bool {
		_, raw := w.call("GET", fmt.Sprintf("%s/%v/deliveries?company_id=%d&filters[status]=failing", hooks, second, int64(id)), "")
		return raw != "[]"
	})
	w.does(0, "run this again when they are done", "--yes")
	if n := len(w.hooks()); n != 2 {
		t.Errorf("%d hooks", n)
	}
}

// A hook that somebody made by hand in another namespace is told of, and adopted on request.
func TestAHookOfAnotherNamespace(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	const hooks = "/rest/v1.0/webhooks/hooks"
	w.changes("POST", hooks, fmt.Sprintf(`{"company_id":%d,"hook":{"api_version":"v4.0","namespace":"by-hand","destination_url":"%s/webhooks/procore/%d"}}`, int64(id), w.url(), int64(id)))
	w.does(0, "of namespace by-hand delivers to this URL as well", append(w.credentials(), "--dry-run")...)
	w.does(0, "~ change webhook hook", append(w.credentials(), "--yes", "--namespace", "by-hand", "--name", "Acme")...)
	all := w.hooks()
	if len(all) != 1 || all[0]["api_version"] != "v4.0" || w.sends() != w.tokens()[0] {
		t.Errorf("the hooks are %v", all)
	}
	w.does(0, "Nothing to change.") // the namespace is kept in the companies file
	w.run()
	w.press()
}

func TestRemove(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.connect()
	w.does(0, "not removed: the ERP connection", "--remove", "--yes")
	if left := w.hooks(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	w.does(0, "Nothing to change.", "--remove")
	w.does(0, "2 to create", "--yes") // and back again
	w.sound()
}

func TestUsage(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	for says, args := range map[string][]string{
		"token_file=PATH": {"--connector", "driver=remote,token=hush-hush-hush-hush"},
		"names no driver": {"--client-id", "x", "--connector", "address=x:1"},
		"give --client-id, --client-secret-file and --connector": {"--url", "https://x"},
		"give --client-secret-file and --url":                    {"--client-id", "x", "--connector", "driver=ledger"},
		"give --connector driver=ledger, or another driver":      {"--url", "https://x", "--client-id", "x", "--client-secret-file", w.path("acme.secret")},
		"--connector: must be driver=ledger":                     {"--connector", "ledger"},
		"or driver=remote,address=HOST:PORT":                     {"--connector", "driver=remote,a=b,hush-hush"},
		"the public base URL of ingest":                          {"--url", "x.example.com"},
		"is appended":                                            {"--url", "https://x/webhooks/procore/7"},
		"may only contain a-z":                                   {"--namespace", "Tie_Back"},
		"must be table or json":                                  {"-o", "xml"},
		"--dry-run exclude each other":                           {"--yes", "--dry-run"},
		"--rotate-token: give only one":                          {"--remove", "--rotate-token"},
	} {
		if out := w.does(2, says, args...); strings.Contains(out, "hush") {
			t.Errorf("a secret is repeated: %s", out)
		}
	}
	w.write("bad.yaml", "entities: {spaceships: {enabled: true}}\n")
	w.does(2, "entities.spaceships", append(w.credentials(), "--metadata-file", w.path("bad.yaml"), "--dry-run")...)
	t.Setenv("TIEBACK_COMPANIES", filepath.Join(w.dir, "no", "companies.yaml"))
	w.does(2, "directory does not exist", w.credentials()...)
	if n := len(w.sandbox.Writes()); n > 0 {
		t.Errorf("%d writes to Procore", n)
	}
}

func TestMetadataOverlay(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.connect()
	w.write("overlay.yaml", `
labels: {short_name: Books}
entities:
  vendors:
    rules: {export: {fields: {name: {enabled: true, validation: {max_length: {enabled: true, length: 30, message: "Too long: at most %{length}"}}}}}}
`)
	w.does(0, "metadata_file has changed", "--metadata-file", w.path("overlay.yaml"), "--yes")
	raw, err := json.Marshal(w.sandbox.Metadata(id))
	w.must(err)
	for _, part := range []string{`"short_name":"Books"`, `"length":30`, `"code":{"enabled":true,"validation":{"present"`} {
		if !strings.Contains(string(raw), part) {
			t.Errorf("no %s in %s", part, raw)
		}
	}
	w.sound()
}
