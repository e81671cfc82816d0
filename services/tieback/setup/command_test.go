package setup_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/tokenhash"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/internal/sitetest"
)

func TestFromCredentialsToTheFirstEvent(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	if out := s.Expect(0, "5 to create", append(s.Credentials(), "--dry-run")...); strings.Contains(out, "done:") {
		t.Errorf("a dry run did something: %s", out)
	}
	if _, err := os.Stat(s.Path("companies.yaml")); err == nil || len(s.Sandbox.Writes()) > 0 {
		t.Error("a dry run wrote something")
	}
	s.Expect(2, "not a terminal", s.Credentials()...)
	out := s.Expect(0, "Restart the services now: the company is new", append(s.Credentials(), "--yes")...)
	if !strings.Contains(out, "could not be reached") {
		t.Errorf("the output does not say that ingest does not answer: %s", out)
	}
	s.CheckSound()
	for _, name := range []string{"companies.yaml", fmt.Sprintf("%d.webhook-tokens", sitetest.ID)} {
		if info, err := os.Stat(s.Path(name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	if token := s.Tokens()[0]; len(token) != 64 {
		t.Errorf("the webhook token has %d characters", len(token))
	}
	hashes, err := tokenhash.Read(s.Path("webhooks/webhooks.json"))
	if err != nil || !hashes.Authentic(sitetest.ID, string(s.Tokens()[0])) {
		t.Errorf("ingest does not learn the webhook token: %v", err)
	}
	s.Must(os.Remove(s.Path("webhooks/webhooks.json")))
	s.Expect(0, "webhook token hashes for ingest", "--yes")
	s.Start()
	s.Press()
	s.Expect(0, "accepts the webhook token")
	const synced = "PATCH /rest/v1.0/companies/{company_id}/erp_connections/metadata"
	_, err = s.Sandbox.Press(sitetest.ID, "sync_metadata", nil)
	s.Must(err)
	s.Eventually(func() bool { return s.Sandbox.Counts()[synced] == 1 })
	s.Expect(0, "Nothing to change.") // it sent the same document
}

func TestJSON(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	out := s.Expect(0, "", append(s.Credentials(), "--yes", "-o", "json")...)
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
	if d.Company != sitetest.ID || d.Changes != 5 || d.DryRun || len(d.Restart) != 1 || len(d.Steps) != 5 || !d.Steps[4].Done || d.Steps[4].Action != "create" {
		t.Errorf("%+v", d)
	}
}

// Another run repairs manual changes.
func TestDriftIsRepaired(t *testing.T) {
	const hooks = "/rest/v1.0/webhooks/hooks"
	hook := func(s *sitetest.Site) string { return fmt.Sprintf("%s/%v", hooks, s.Hooks()[0]["id"]) }
	trigger := func(s *sitetest.Site) string {
		return fmt.Sprintf("%s/triggers/%v", hook(s), s.Triggers(s.Hooks()[0]["id"])[0]["id"])
	}
	for name, c := range map[string]struct {
		drift func(s *sitetest.Site)
		says  string
	}{
		"another address": {func(s *sitetest.Site) {
			s.Change("PATCH", hook(s), `{"company_id":598134325841112,"hook":{"destination_url":"http://elsewhere/x"}}`)
		}, "~ change webhook hook"},
		"another header": {func(s *sitetest.Site) {
			s.Change("PATCH", hook(s), `{"company_id":598134325841112,"hook":{"destination_headers":{"Authorization":"Bearer somebody-elses-token"}}}`)
		}, "does not send the newest webhook token"},
		"no trigger": {func(s *sitetest.Site) { s.Change("DELETE", trigger(s), "") }, "+ create trigger"},
		"another trigger": {func(s *sitetest.Site) {
			s.Change("DELETE", trigger(s), "")
			s.Change("POST", hook(s)+"/triggers", `{"company_id":598134325841112,"trigger":{"resource_name":"Projects","event_type":"create"}}`)
		}, "+ create trigger"},
		"two triggers": {func(s *sitetest.Site) {
			s.Change("POST", hook(s)+"/triggers", `{"company_id":598134325841112,"trigger":{"resource_name":"ERP Requests","event_type":"create"}}`)
		}, "it exists twice"},
		"no hook": {func(s *sitetest.Site) { s.Change("DELETE", hook(s), "") }, "+ create webhook hook"},
		"two hooks": {func(s *sitetest.Site) {
			s.Change("POST", hooks, `{"company_id":598134325841112,"hook":{"api_version":"v2.0","namespace":"tieback","destination_url":"http://elsewhere/x"}}`)
		}, "a duplicate in the namespace tieback, to http://elsewhere/x"},
		"other metadata": {func(s *sitetest.Site) {
			s.Change("PATCH", "/rest/v1.0/companies/598134325841112/erp_connections/metadata", `{"metadata":{"settings":{"labels":{"name":"Old"}}}}`)
		}, "~ change ERP metadata"},
		"the list's id": {func(s *sitetest.Site) {
			s.Write("companies.yaml", strings.Replace(s.Text("companies.yaml"), "list_id: 2", "list_id: 3", 1))
		}, "~ change standard_cost_code_list_id"},
		"the token": {func(s *sitetest.Site) { s.Must(os.Remove(s.Path("598134325841112.webhook-tokens"))) }, "+ create webhook token"},
		"the entry": {func(s *sitetest.Site) {
			kept := "companies:\n  # ours\n  - {id: 8, client_id: c, client_secret: s, webhook_tokens: [token-of-eight-token], connector: {driver: ledger}}\n"
			s.Write("companies.yaml", kept)
			s.Cleanup(func() {
				if text := s.Text("companies.yaml"); !strings.Contains(text, "# ours") || !strings.Contains(text, "token-of-eight-token") {
					s.Errorf("another company's entry is gone: %s", text)
				}
			})
		}, "+ create entry"},
	} {
		t.Run(name, func(t *testing.T) {
			s := sitetest.New(t, sandbox.Config{})
			s.Connect()
			s.Tokens()
			c.drift(s)
			args := []string{"--yes"}
			if name == "the entry" {
				args = append(s.Credentials(), args...)
			}
			s.Expect(0, c.says, args...)
			if name == "another trigger" { // a trigger of another resource stays
				triggers := s.Triggers(s.Hooks()[0]["id"])
				if len(triggers) != 2 {
					t.Fatalf("%v", triggers)
				}
				s.Change("DELETE", trigger(s), "")
			}
			s.CheckSound()
		})
	}
}

// A hook with deliveries in its queue is not deleted: they would be lost.
func TestDuplicateWithPendingDeliveriesStays(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Connect()
	const hooks = "/rest/v1.0/webhooks/hooks"
	gone := "http://" + sitetest.FreePort(t)
	s.Change("POST", hooks, fmt.Sprintf(`{"company_id":%d,"hook":{"api_version":"v2.0","namespace":"tieback","destination_url":%q}}`, sitetest.ID, gone))
	second := s.Hooks()[1]["id"]
	s.Change("POST", fmt.Sprintf("%s/%v/triggers", hooks, second), `{"company_id":598134325841112,"trigger":{"resource_name":"ERP Requests","event_type":"create"}}`)
	s.Start()
	s.Press()
	s.Eventually(func() bool {
		_, raw := s.Call("GET", fmt.Sprintf("%s/%v/deliveries?company_id=%d&filters[status]=failing", hooks, second, sitetest.ID), "")
		return raw != "[]"
	})
	s.Expect(0, "run this again when they are done", "--yes")
	if n := len(s.Hooks()); n != 2 {
		t.Errorf("%d hooks", n)
	}
}

// A hook that was created manually in another namespace is reported, and adopted on request.
func TestHookOfAnotherNamespace(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	const hooks = "/rest/v1.0/webhooks/hooks"
	s.Change("POST", hooks, fmt.Sprintf(`{"company_id":%d,"hook":{"api_version":"v4.0","namespace":"by-hand","destination_url":"%s/webhooks/procore/%d"}}`, sitetest.ID, s.URL(), sitetest.ID))
	s.Expect(0, "of namespace by-hand delivers to this URL as well", append(s.Credentials(), "--dry-run")...)
	s.Expect(0, "~ change webhook hook", append(s.Credentials(), "--yes", "--namespace", "by-hand", "--name", "Acme")...)
	all := s.Hooks()
	if len(all) != 1 || all[0]["api_version"] != "v4.0" || s.HookToken() != s.Tokens()[0] {
		t.Errorf("the hooks are %v", all)
	}
	s.Expect(0, "Nothing to change.") // the namespace is kept in the companies file
	s.Start()
	s.Press()
}

func TestRemove(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Connect()
	s.Expect(0, "not removed: the ERP connection", "--remove", "--yes")
	if left := s.Hooks(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	s.Expect(0, "Nothing to change.", "--remove")
	s.Expect(0, "2 to create", "--yes") // and back again
	s.CheckSound()
}

func TestUsage(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	for says, args := range map[string][]string{
		"token_file=PATH": {"--connector", "driver=remote,token=hush-hush-hush-hush"},
		"names no driver": {"--client-id", "x", "--connector", "address=x:1"},
		"give --client-id, --client-secret-file and --connector": {"--url", "https://x"},
		"give --client-secret-file and --url":                    {"--client-id", "x", "--connector", "driver=ledger"},
		"give --connector driver=ledger, or another driver":      {"--url", "https://x", "--client-id", "x", "--client-secret-file", s.Path("acme.secret")},
		"--connector: must be driver=ledger":                     {"--connector", "ledger"},
		"or driver=remote,address=HOST:PORT":                     {"--connector", "driver=remote,a=b,hush-hush"},
		"the public base URL of ingest":                          {"--url", "x.example.com"},
		"is appended":                                            {"--url", "https://x/webhooks/procore/7"},
		"may only contain a-z":                                   {"--namespace", "Tie_Back"},
		"must be table or json":                                  {"-o", "xml"},
		"--dry-run exclude each other":                           {"--yes", "--dry-run"},
		"--rotate-token: give only one":                          {"--remove", "--rotate-token"},
	} {
		if out := s.Expect(2, says, args...); strings.Contains(out, "hush") {
			t.Errorf("a secret is repeated: %s", out)
		}
	}
	s.Write("bad.yaml", "entities: {spaceships: {enabled: true}}\n")
	s.Expect(2, "entities.spaceships", append(s.Credentials(), "--metadata-file", s.Path("bad.yaml"), "--dry-run")...)
	t.Setenv("TIEBACK_COMPANIES", s.Path("no/companies.yaml"))
	s.Expect(2, "directory does not exist", s.Credentials()...)
	if n := len(s.Sandbox.Writes()); n > 0 {
		t.Errorf("%d writes to Procore", n)
	}
}

func TestMetadataOverlay(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Connect()
	s.Write("overlay.yaml", `
labels: {short_name: Books}
entities:
  vendors:
    rules: {export: {fields: {name: {enabled: true, validation: {max_length: {enabled: true, length: 30, message: "Too long: at most %{length}"}}}}}}
`)
	s.Expect(0, "metadata_file has changed", "--metadata-file", s.Path("overlay.yaml"), "--yes")
	raw, err := json.Marshal(s.Sandbox.Metadata(sitetest.ID))
	s.Must(err)
	for _, part := range []string{`"short_name":"Books"`, `"length":30`, `"code":{"enabled":true,"validation":{"present"`} {
		if !strings.Contains(string(raw), part) {
			t.Errorf("no %s in %s", part, raw)
		}
	}
	s.CheckSound()
}
