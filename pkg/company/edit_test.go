package company_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/company"
)

const commented = `# companies of the west
companies:
  # the first
  - id: 7
    name: Acme # as in Procore
    client_id: seven
    client_secret: "7secret"
    webhook_tokens: [token-of-seven-token]
    connector: {driver: ledger}

  - {id: 8, client_id: eight, client_secret: "8secret", webhook_tokens: [token-of-eight-token], connector: {driver: ledger}}
`

func written(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "companies.yaml")
	if text != "" {
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func edit(t *testing.T, path string) *company.File {
	t.Helper()
	f, err := company.Edit(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestEditKeepsCommentsModeAndOtherEntries(t *testing.T) {
	path := written(t, commented)
	f := edit(t, path)
	e := f.Entry(7)
	if e.Set("name", "Acme") || e.SetNumber("id", 7) {
		t.Error("the same value is reported as a change")
	}
	if !e.Set("client_id", "0123") || !e.SetNumber("standard_cost_code_list_id", 2) {
		t.Error("a change is not reported")
	}
	if err := f.Save(7); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"# companies of the west", "# the first", "name: Acme # as in Procore", `client_id: "0123"`, "id: 8", "standard_cost_code_list_id: 2"} {
		if !strings.Contains(string(raw), part) {
			t.Errorf("no %s in\n%s", part, raw)
		}
	}
	set, _, err := company.Load(path)
	if err != nil || len(set) != 2 || set[7].StandardCostCodeListID != 2 {
		t.Errorf("%v %v", set, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode is %v: its readers can no longer read it (%v)", info.Mode(), err)
	}
}

func TestEditAddsEntry(t *testing.T) {
	for name, text := range map[string]string{"no file": "", "no list": "companies:\n", "an empty list": "companies: []\n", "others": commented} {
		t.Run(name, func(t *testing.T) {
			path := written(t, text)
			f := edit(t, path)
			if f.Entry(9) != nil {
				t.Fatal("the entry exists already")
			}
			e, err := f.Add(9)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Save(9); err == nil || !strings.Contains(err.Error(), "client_id: is missing") {
				t.Errorf("an incomplete entry was saved, or refused without a reason: %v", err)
			}
			tokens := filepath.Join(t.TempDir(), "tokens")
			e.Set("client_id", "nine")
			e.Set("client_secret", "9secret")
			e.Set("webhook_tokens_file", tokens)
			e.SetConnector(map[string]string{"driver": "remote", "address": "x:1"}, []string{"driver", "address"})
			if c, err := e.Company(); err != nil || c.Driver != "remote" || c.Settings()["address"] != "x:1" {
				t.Errorf("without a token yet: %v", err)
			}
			if err := company.WriteFile(tokens, []byte("token-of-nine-token\n")); err != nil {
				t.Fatal(err)
			}
			if err := f.Save(9); err != nil {
				t.Fatal(err)
			}
			if set, _, err := company.Load(path); err != nil || !set[9].Authentic("token-of-nine-token") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestSaveRefusesChangedFile(t *testing.T) {
	path := written(t, commented)
	f := edit(t, path)
	f.Entry(7).Set("name", "Ours")
	theirs := strings.Replace(commented, "Acme", "Theirs", 1)
	if err := os.WriteFile(path, []byte(theirs), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Save(7); err == nil || !strings.Contains(err.Error(), "it has changed since it was read") {
		t.Errorf("got %v", err)
	}
	if raw, _ := os.ReadFile(path); string(raw) != theirs {
		t.Errorf("the other change is lost: %s", raw)
	}
}

func TestEditErrorsHideSecrets(t *testing.T) {
	const secret = "geheim-0123456789"
	for name, text := range map[string]string{
		"no YAML":   "companies: [" + secret,
		"no list":   "companies: " + secret,
		"no object": secret,
		"a field":   "companies: [{id: 7, " + secret + ": x}]",
		"a type":    "companies: [{id: 7, connector: " + secret + "}]",
	} {
		t.Run(name, func(t *testing.T) {
			f, err := company.Edit(written(t, text))
			if err == nil {
				_, err = f.Entry(7).Company()
			}
			if err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestSaveKeepsSymbolicLink(t *testing.T) {
	path := written(t, commented)
	link := filepath.Join(t.TempDir(), "link.yaml")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	f := edit(t, link)
	f.Entry(7).Set("name", "New")
	if err := f.Save(7); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link became a file: %v", err)
	}
	if raw, _ := os.ReadFile(path); !strings.Contains(string(raw), "name: New") {
		t.Errorf("%s", raw)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
