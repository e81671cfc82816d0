package requests

import (
	"strings"
	"testing"

	"github.com/tieback/tieback/services/tieback/internal/commandtest"
)

func TestTry(t *testing.T) {
	commandtest.Settings(t, 7)
	for _, c := range []struct {
		line string
		code int
		says string
	}{
		{"try", 2, "accepts 1 arg"},
		{"try vendor", 2, `"vendor" is not the id of an ERP request`},
		{"try 12 --company=-7", 2, "positive number"},
		{"try 12", 1, "request 12 never arrived here for any company"},
		{"try 12 --company 7", 1, "never arrived here"},
		{"try 12 --company 9", 2, "company 9 is not in the companies file"},
	} {
		if code, out, errs := commandtest.Run(t.Context(), Command(), c.line); code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%q: exit %d, want %d and %q\n%s%s", c.line, code, c.code, c.says, out, errs)
		}
	}
}
