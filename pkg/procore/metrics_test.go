package procore_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// value returns the first sample of a metric; false: there is none.
func (o *opened) value(t *testing.T, name string) (float64, bool) {
	t.Helper()
	families, err := o.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue(), true
		}
	}
	return 0, false
}

// A refusal of the credentials at the login, or of a fresh token, is counted. A token that has expired is renewed, and a login that
// is unavailable is not a refusal.
func TestRefusedCredentialsAreCounted(t *testing.T) {
	for name, c := range map[string]struct {
		login   int // 0: it returns a token
		refused int64
		want    float64
	}{
		"accepted":           {0, 0, 0},
		"token expired":      {0, 1, 0},
		"no token accepted":  {0, 2, 1},
		"secret refused":     {http.StatusUnauthorized, 0, 1},
		"client id refused":  {http.StatusBadRequest, 0, 1},
		"login unavailable":  {http.StatusBadGateway, 0, 0},
		"login is throttled": {http.StatusTooManyRequests, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var logins, calls atomic.Int64
			o := open(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/oauth/token" && c.login != 0:
					w.WriteHeader(c.login)
				case token(w, r, &logins):
				case calls.Add(1) <= c.refused:
					w.WriteHeader(http.StatusUnauthorized)
				default:
					_, _ = w.Write([]byte("{}"))
				}
			})
			if got, there := o.value(t, "tieback_procore_unauthorized_total"); !there || got != 0 {
				t.Errorf("before the first call: %v, %v; want 0, so that the first refusal is an increase", got, there)
			}
			_ = get(t, o.Session)
			if got, _ := o.value(t, "tieback_procore_unauthorized_total"); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// The tokens of function token are valid for 90 minutes.
func TestExpiryOfTokenIsExportedWithoutTheToken(t *testing.T) {
	var n atomic.Int64
	o := open(t, func(w http.ResponseWriter, r *http.Request) {
		if !token(w, r, &n) {
			_, _ = w.Write([]byte("{}"))
		}
	})
	const name = "tieback_procore_token_expires_timestamp_seconds"
	if got, there := o.value(t, name); there {
		t.Errorf("before the first login, a token expires at %v", got)
	}
	if err := get(t, o.Session); err != nil {
		t.Fatal(err)
	}
	got, _ := o.value(t, name)
	if left := time.Until(time.Unix(int64(got), 0)); left < 85*time.Minute || left > 90*time.Minute {
		t.Errorf("the token expires in %v, want 90 minutes", left)
	}
	families, err := o.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if strings.Contains(f.String(), "t1") {
			t.Errorf("the token is in %s", f)
		}
	}
	if problems, err := testutil.GatherAndLint(o.registry); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}
