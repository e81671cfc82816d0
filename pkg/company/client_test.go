package company_test

import (
	"os"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tieback/tieback/pkg/company"
)

const shared = `clients:
  - name: commercial
    client_id: app
    client_secret: "app-secret"
  - {name: federal, client_id: gov, client_secret: "gov-secret", api_url: https://api.procoregov.com/, login_url: https://login.procoregov.com}
companies:
  - {id: 7, client: commercial, webhook_tokens: [token-of-seven-token], connector: {driver: ledger}}
  - {id: 8, client: commercial, webhook_tokens: [token-of-eight-token], connector: {driver: ledger}}
  - {id: 9, client: federal, webhook_tokens: [token-of-nine-token], connector: {driver: ledger}}
  - {id: 10, client_id: own, client_secret: "own-secret", webhook_tokens: [token-of-ten-token], connector: {driver: ledger}}
`

func TestCompaniesShareNamedClient(t *testing.T) {
	set, err := company.Parse([]byte(shared))
	if err != nil {
		t.Fatal(err)
	}
	if set[7].Client != set[8].Client || set[7].Client == set[9].Client {
		t.Error("companies that refer to a named client do not share it")
	}
	for id, want := range map[int64]struct{ name, is, api, login, clientID, secret string }{
		7:  {"commercial", "client commercial", "", "", "app", "app-secret"},
		9:  {"federal", "client federal", "https://api.procoregov.com", "https://login.procoregov.com", "gov", "gov-secret"},
		10: {"", "the client of company 10", "", "", "own", "own-secret"},
	} {
		c := set[id].Client
		has := c.Credentials()
		if c.Name != want.name || c.String() != want.is || c.APIURL != want.api || c.LoginURL != want.login || has.ID != want.clientID || string(has.Secret) != want.secret {
			t.Errorf("company %d: %v %q %q %q", id, c, c.APIURL, c.LoginURL, has.ID)
		}
	}
}

func TestErrorOfInvalidClientNamesField(t *testing.T) {
	for name, c := range map[string]struct{ old, new, says string }{
		"unknown client":     {"client: federal", "client: fedral", "companies[2]: client: there is no client of this name"},
		"client and own id":  {"id: 7, client: commercial", "id: 7, client: commercial, client_id: x", "companies[0]: client: give either client, or client_id with client_secret_file"},
		"neither":            {"id: 7, client: commercial, ", "id: 7, ", "companies[0]: client_id: is missing"},
		"no name":            {"name: federal, ", "", "clients[1]: name: is missing"},
		"a bad name":         {"name: federal", "name: The Federal", "name: may only contain a-z, 0-9 and -"},
		"listed twice":       {"name: federal", "name: commercial", "companies[0]: client: it is invalid: clients[1]: name: another client has the same name; each name must be unique"},
		"no id":              {"client_id: gov, ", "", "companies[2]: client: it is invalid: clients[1]: client_id: is missing"},
		"no secret":          {`client_secret: "gov-secret", `, "", "clients[1]: client_secret: is missing"},
		"secret file gone":   {`client_secret: "gov-secret"`, "client_secret_file: /nowhere", "clients[1]: client_secret_file"},
		"no login":           {", login_url: https://login.procoregov.com", "", "clients[1]: login_url: is missing"},
		"no API":             {"api_url: https://api.procoregov.com/, ", "", "clients[1]: api_url: is missing"},
		"no url":             {"https://login.procoregov.com", "login.procoregov.com", "clients[1]: login_url: must be the base URL of a host"},
		"a path":             {"https://api.procoregov.com/", "https://api.procoregov.com/rest", "clients[1]: api_url: must be the base URL of a host"},
		"a secret in an url": {"https://login.procoregov.com", "https://x:gov-secret@y", "clients[1]: login_url: must be the base URL of a host"},
		"misspelt field":     {"client_id: gov", "client_id: gov, zone: us", "clients[1]: not a field of a client: zone (line 5); its fields are name, client_id, "},
		"no list":            {shared[:strings.Index(shared, "companies:")], "clients: {name: x}\n", "expected a list of clients, found a mapping"},
		"no mapping":         {shared[:strings.Index(shared, "companies:")], "clients: [gov-secret]\n", "expected a mapping with a client's fields, found a text"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(shared, c.old, c.new, 1)
			if text == shared {
				t.Fatal("the text is unchanged")
			}
			_, err := company.Parse([]byte(text))
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "gov-secret") {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

// An invalid client affects only the companies that refer to it.
func TestInvalidClientAffectsOnlyItsCompanies(t *testing.T) {
	for name, c := range map[string]struct {
		text     string
		served   int
		mistakes int
	}{
		"of one company":   {strings.Replace(shared, `client_secret: "gov-secret", `, "", 1), 3, 1},
		"of two companies": {strings.Replace(shared, "client_id: app", "client_id: ''", 1), 2, 2},
		"of none":          {strings.Replace(shared, "clients:", "clients:\n  - {name: old, client_id: x}", 1), 4, 1},
	} {
		t.Run(name, func(t *testing.T) {
			set, mistakes, err := company.Load(written(t, c.text))
			if err != nil || len(set) != c.served || len(mistakes) != c.mistakes {
				t.Errorf("%d served, %v, %v", len(set), mistakes, err)
			}
		})
	}
}

func TestCredentialsOfNamedClientRotateForAllItsCompanies(t *testing.T) {
	path := written(t, shared)
	set, _, err := company.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	core, log := observer.New(zapcore.InfoLevel)
	w := company.NewWatcher(path, set, zap.New(core))
	apply := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w.Poll()
		w.Poll()
	}
	apply(strings.Replace(shared, "app-secret", "app-secret-2", 1))
	for _, id := range []int64{7, 8} {
		if is := set[id].Client.Credentials().Secret; string(is) != "app-secret-2" {
			t.Errorf("company %d has the secret %q", id, string(is))
		}
	}
	if n := log.FilterMessage("credentials changed in the companies file").Len(); n != 1 || log.FilterMessage("secrets rotated").Len() != 0 {
		t.Errorf("want one line for the client, and none that says rotated: %v", log.All())
	}
	apply(strings.NewReplacer("https://login.procoregov.com", "https://login.example.com", "id: 8, client: commercial", "id: 8, client: federal").Replace(shared))
	if set[8].Client != set[7].Client || set[9].Client.LoginURL != "https://login.procoregov.com" {
		t.Error("a setting that needs a restart was applied")
	}
	needs := log.FilterMessage("setting changed: restart Tieback to apply it").All()
	if len(needs) != 2 {
		t.Errorf("%v", needs)
	}
}

func TestEditAddsAndChangesClient(t *testing.T) {
	path := written(t, "# ours\n"+commented)
	f := edit(t, path)
	if f.Client("tieback") != nil {
		t.Fatal("the client exists already")
	}
	c, err := f.AddClient("tieback")
	if err != nil {
		t.Fatal(err)
	}
	c.Set("client_id", "app")
	c.Set("client_secret", "app-secret")
	e := f.Entry(7)
	if !e.Drop("client_id") || !e.Drop("client_secret") || !e.Set("client", "tieback") {
		t.Error("a change is not reported")
	}
	if c, err := e.Company(); err != nil || c.Client.Name != "tieback" || c.Client.Credentials().ID != "app" {
		t.Errorf("%v", err)
	}
	if err := f.Save(7); err != nil {
		t.Fatal(err)
	}
	set, _, err := company.Load(path)
	if err != nil || set[7].Client.Name != "tieback" || set[8].Client.Name != "" {
		t.Errorf("%v", err)
	}
	raw, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(raw), "# ours") || strings.Index(string(raw), "clients:") > strings.Index(string(raw), "companies:") {
		t.Errorf("%v\n%s", err, raw)
	}
	if again := edit(t, path).Client("tieback"); again == nil || again.Get("client_id") != "app" {
		t.Error("the client is not found again")
	}
}
