package golden

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// recorder records the errors of a test instead of failing it.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func TestCompare(t *testing.T) {
	file := filepath.Join(t.TempDir(), "testdata", "x.golden")
	*update = true
	Compare(t, file, "one\n")
	*update = false
	Compare(t, file, "one\n")
	r := &recorder{TB: t}
	Compare(r, file, "two\n")
	if len(r.errors) != 1 || !strings.Contains(r.errors[0], "two") {
		t.Errorf("a difference is reported as %q", r.errors)
	}
}
