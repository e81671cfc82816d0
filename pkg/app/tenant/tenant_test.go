package tenant

import (
	"os"
	"path/filepath"
	"testing"
)

// A mistake in one company's entry is an error for a command that needs all companies. A service serves the other companies.
func TestInvalidEntryDoesNotStopService(t *testing.T) {
	const right = "{id: 7, client_id: c, client_secret: s, webhook_tokens: [0123456789abcdef], connector: {driver: tryton}}"
	const wrong = "{id: 8, client_id: c, client_secret: s, webhook_tokens: [short], connector: {driver: tryton}}"
	for _, c := range []struct {
		entries          string
		serves, commands bool
		unserved         float64
	}{
		{right, true, true, 0},
		{right + ", " + wrong, true, false, 1},
		{wrong, false, false, 0},
	} {
		path := filepath.Join(t.TempDir(), "companies.yaml")
		if err := os.WriteFile(path, []byte("companies: ["+c.entries+"]"), 0o600); err != nil {
			t.Fatal(err)
		}
		getenv := func(name string) string {
			return map[string]string{
				"TIEBACK_COMPANIES": path, "TIEBACK_DATA": t.TempDir(), "TIEBACK_LOG_LEVEL": "fatal",
				"TIEBACK_PROCORE_API_URL": "http://procore.invalid", "TIEBACK_PROCORE_LOGIN_URL": "http://procore.invalid",
			}[name]
		}
		if _, err := Load("audit", getenv, AllCompanies); (err == nil) != c.commands {
			t.Errorf("a command with %s: %v", c.entries, err)
		}
		p, err := Load("export", getenv, ValidCompanies)
		if (err == nil) != c.serves {
			t.Errorf("a service with %s: %v", c.entries, err)
		}
		if err != nil {
			continue
		}
		if len(p.Companies) != 1 || p.Companies[7] == nil {
			t.Errorf("serves %v, want company 7", p.Companies)
		}
		if n := unserved(t, p); n != c.unserved {
			t.Errorf("%v are counted as not served, want %v", n, c.unserved)
		}
	}
}

// unserved reads the gauge tieback_companies_unserved.
func unserved(t *testing.T, p *App) float64 {
	t.Helper()
	all, err := p.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == "tieback_companies_unserved" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("not counted at all")
	return 0
}
