package company

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInvalidCompanyDoesNotStopTheOthers(t *testing.T) {
	const right = "{id: 7, client_id: c, client_secret: s, webhook_tokens: [0123456789abcdef], connector: {driver: x}}"
	const wrong = "{id: 8, client_id: c, client_secret_file: /nowhere/at/all, webhook_tokens: [0123456789abcdef], connector: {driver: x}}"
	for _, c := range []struct {
		name, file string
		served     int
		mistakes   int
		fails      bool
	}{
		{"all are right", "companies: [" + right + "]", 1, 0, false},
		{"one is wrong", "companies: [" + wrong + ", " + right + "]", 1, 1, false},
		{"none is right", "companies: [" + wrong + "]", 0, 0, true},
		{"no YAML", "companies: [", 0, 0, true},
		{"no company", "companies: []", 0, 0, true},
	} {
		path := filepath.Join(t.TempDir(), "companies.yaml")
		if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		set, mistakes, err := LoadValid(path)
		if len(set) != c.served || len(mistakes) != c.mistakes || (err != nil) != c.fails {
			t.Errorf("%s: %d served, mistakes %v, %v", c.name, len(set), mistakes, err)
		}
		if c.mistakes > 0 && !strings.Contains(mistakes[0].Error(), "client_secret_file") {
			t.Errorf("%s: %v names no field", c.name, mistakes)
		}
		if _, strict := Load(path); c.mistakes > 0 && strict == nil {
			t.Errorf("%s: Load must return the error", c.name)
		}
	}
	if _, _, err := LoadValid(filepath.Join(t.TempDir(), "none.yaml")); err == nil {
		t.Error("a file that is not there")
	}
	if _, _, err := LoadValid(""); err == nil || !strings.Contains(err.Error(), "TIEBACK_COMPANIES") {
		t.Errorf("no file: %v", err)
	}
}
