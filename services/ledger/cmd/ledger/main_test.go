package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnEnvironmentThatMakesNoSense(t *testing.T) {
	empty, three := filepath.Join(t.TempDir(), "empty"), filepath.Join(t.TempDir(), "three")
	for path, content := range map[string]string{empty: "\n", three: "a b c"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct{ variable, value, says string }{
		"a certificate without key":  {"LEDGER_TLS_CERT", "/cert.pem", "give both or neither"},
		"a key without certificate":  {"LEDGER_TLS_KEY", "/key.pem", "give both or neither"},
		"a rehearsal by another yes": {"LEDGER_REHEARSAL", "yes", "must be on or off"},
		"no token in the file":       {"LEDGER_TOKEN_FILE", empty, "there are 0"}, // and not: no token is asked for
		"three tokens":               {"LEDGER_TOKEN_FILE", three, "there are 3"},
		"no such file":               {"LEDGER_TOKEN_FILE", "/nowhere", "LEDGER_TOKEN_FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(c.variable, c.value)
			if _, err := config(); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}
