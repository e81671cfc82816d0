package procoretest_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/procoretest"
)

// recorder records the errors of a test instead of failing it.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

// A request that differs from its published operation fails the test; a correct one does not.
func TestSessionChecksRequests(t *testing.T) {
	for _, c := range []struct {
		query  []any
		errors int
	}{{[]any{"company_id", 7}, 0}, {[]any{"company_id", 7, "colour", 1}, 1}} {
		r := &recorder{TB: t}
		s := procoretest.Session(r, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `[]`) }))
		if _, err := s.Do(t.Context(), procore.Call{Route: procore.ListHooks, Query: procore.Query(c.query...)}); err != nil {
			t.Error(err)
		}
		if len(slices.Compact(r.errors)) != c.errors {
			t.Errorf("query %v: errors %q", c.query, r.errors)
		}
	}
}
