package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tieback/tieback/services/tieback/internal/commandtest"
)

func TestCheck(t *testing.T) {
	const entry = "companies:\n  - {id: 7, name: Acme, client_id: c7, client_secret: s, webhook_tokens: [0123456789abcdef], connector: {driver: ledger}}\n"
	write := func(text string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "companies.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("TIEBACK_COMPANIES", "")
	for _, c := range []struct {
		name, line string
		code       int
		says       string
	}{
		{"valid", "check " + write(entry, 0o600), 0, "is valid: 1 company."},
		{"a misspelled field", "check " + write(strings.Replace(entry, "client_id", "cleint_id", 1), 0o600), 1, "cleint_id"},
		{"readable by all", "check " + write(entry, 0o604), 1, "chmod o-rwx"},
		{"missing", "check nowhere.yaml", 1, "nowhere.yaml"},
		{"no file", "check", 2, "name a companies file"},
		{"no command", "", 2, "name a command: check"},
	} {
		if code, out, errs := commandtest.Run(t.Context(), Command(), c.line); code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%s: exit %d, want %d and %q\n%s%s", c.name, code, c.code, c.says, out, errs)
		}
	}
}
