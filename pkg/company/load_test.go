package company

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInvalidCompanyDoesNotStopTheOthers(t *testing.T) {
	const valid = "{id: 7, client_id: c, client_secret: s, webhook_tokens: [0123456789abcdef], connector: {driver: x}}"
	const invalid = "{id: 8, client_id: c, client_secret_file: /nowhere/at/all, webhook_tokens: [0123456789abcdef], connector: {driver: x}}"
	for _, c := range []struct {
		name, file string
		served     int
		mistakes   int
		fails      bool
	}{
		{"all valid", "companies: [" + valid + "]", 1, 0, false},
		{"one invalid", "companies: [" + invalid + ", " + valid + "]", 1, 1, false},
		{"none valid", "companies: [" + invalid + "]", 0, 0, true},
		{"not YAML", "companies: [", 0, 0, true},
		{"no company", "companies: []", 0, 0, true},
	} {
		path := filepath.Join(t.TempDir(), "companies.yaml")
		if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		set, mistakes, err := Load(path)
		if len(set) != c.served || len(mistakes) != c.mistakes || (err != nil) != c.fails {
			t.Errorf("%s: %d served, mistakes %v, %v", c.name, len(set), mistakes, err)
		}
		if c.mistakes > 0 && !strings.Contains(mistakes[0].Error(), "client_secret_file") {
			t.Errorf("%s: %v, want the name of the field", c.name, mistakes)
		}
	}
	if _, _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); err == nil {
		t.Error("a missing file is no error")
	}
	if _, _, err := Load(""); err == nil || !strings.Contains(err.Error(), "TIEBACK_COMPANIES") {
		t.Errorf("without a path: %v", err)
	}
}
