package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/connector/conformance/rehearsal"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors/ledger"
)

func TestInvalidEnvironmentIsRefused(t *testing.T) {
	empty, three := filepath.Join(t.TempDir(), "empty"), filepath.Join(t.TempDir(), "three")
	for path, content := range map[string]string{empty: "\n", three: "a b c"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct{ variable, value, says string }{
		"a certificate without key":  {"LEDGER_TLS_CERT", "/cert.pem", "give both or neither"},
		"a key without certificate":  {"LEDGER_TLS_KEY", "/key.pem", "give both or neither"},
		"not an ISO code":            {"LEDGER_CURRENCY", "dollars", "must be an ISO code"},
		"a rehearsal by another yes": {"LEDGER_REHEARSAL", "yes", "must be on or off"},
		"no token in the file":       {"LEDGER_TOKEN_FILE", empty, "it has 0"}, // and not: no token is asked for
		"three tokens":               {"LEDGER_TOKEN_FILE", three, "it has 3"},
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

// The server passes the fault to the driver, which simulates it.
func TestRehearsal(t *testing.T) {
	books := ledger.Open(t.TempDir())
	defer books.Close()
	d, err := resolve(books)(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Put(rehearsal.With(t.Context(), rehearsal.Throttled), &tiebackv1.PutRequest{CompanyId: 7})
	if fault.ClassOf(err) != fault.Throttled {
		t.Errorf("got %v, want throttled", err)
	}
}
