package sandbox

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
)

// README.md describes each recipe as the table does.
func TestReadmeHasTheRecipes(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range recipes {
		if row := fmt.Sprintf("| `%s` | %s | %s |\n", r.Name, r.What, r.Result); !strings.Contains(string(page), row) {
			t.Errorf("README.md lacks %s", row)
		}
	}
	if n := strings.Count(string(page), "\n| `"); n != len(recipes) {
		t.Errorf("README.md has %d recipes, want %d", n, len(recipes))
	}
}

// The page presses a button, switches a failure on and off, and shows both. Another site's page can do none of it.
func TestPage(t *testing.T) {
	sb := New(Config{})
	if err := sb.AddCompany(Company{ID: 7, Name: "Acme <Builders>", ClientID: "c", ClientSecret: "a-secret-of-the-client"}); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(sb.Handler())
	t.Cleanup(srv.Close)
	read := func(r *http.Response) string {
		t.Helper()
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		return string(raw)
	}
	show := func(want ...string) {
		t.Helper()
		r, err := http.Get(srv.URL + "/sandbox/")
		if err != nil {
			t.Fatal(err)
		}
		got := read(r)
		for _, part := range want {
			if !strings.Contains(got, part) {
				t.Errorf("the page lacks %q:\n%s", part, got)
			}
		}
		if strings.Contains(got, "a-secret") {
			t.Error("the page shows a secret")
		}
	}
	post := func(site, path string, form url.Values) int {
		t.Helper()
		r, err := http.NewRequest(http.MethodPost, srv.URL+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", site)
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		read(res)
		return res.StatusCode
	}
	show("Acme &lt;Builders&gt;", "None yet", "lost-answer")
	press := url.Values{"company": {"7"}, "type": {"create_vendor"}, "name": {"Alpha"}}
	if code := post("cross-site", "/sandbox/page/press", press); code != http.StatusForbidden || len(sb.newest(1)) > 0 {
		t.Errorf("another site's form is answered %d", code)
	}
	if code := post("same-origin", "/sandbox/page/press", press); code != http.StatusSeeOther {
		t.Errorf("press is answered %d", code)
	}
	requests := sb.newest(5)
	if len(requests) != 1 || requests[0].EventType != "create_vendor" || !strings.Contains(string(requests[0].Payload), `"name":"Alpha"`) {
		t.Errorf("the requests are %+v", requests)
	}
	post("same-origin", "/sandbox/page/recipe", url.Values{"company": {"7"}, "recipe": {"procore-down"}})
	show("Failing now: status 503", fmt.Sprint(requests[0].ID), "busy")
	post("same-origin", "/sandbox/page/heal", nil)
	if len(sb.faultRules()) > 0 || len(sb.newest(5)) != 2 {
		t.Errorf("after heal: %v, %d requests", sb.faultRules(), len(sb.newest(5)))
	}
	if _, err := sb.Follow(7, "earthquake"); err == nil {
		t.Error("an unknown recipe is followed")
	}
}

// The control API adds a rule and removes all, as README.md says.
func TestFailAndHeal(t *testing.T) {
	handler := New(Config{}).Handler()
	call := func(method, path, body string, want int) {
		t.Helper()
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		if w.Code != want {
			t.Errorf("%s %s %s: %d %s, want %d", method, path, body, w.Code, w.Body, want)
		}
	}
	const list = "/rest/v1.0/vendors?company_id=7"
	call(http.MethodPost, "/sandbox/fail", `{"kind":"status","status":503,"retry_after":5,"path":"vendors","seconds":60}`, http.StatusNoContent)
	call(http.MethodGet, list, "", http.StatusServiceUnavailable)
	call(http.MethodPost, "/sandbox/heal", "", http.StatusNoContent)
	call(http.MethodGet, list, "", http.StatusUnauthorized)
	call(http.MethodPost, "/sandbox/fail", `{"kind":"none"}`, http.StatusUnprocessableEntity)
	call(http.MethodPost, "/sandbox/fail", `{"kinds":"status"}`, http.StatusBadRequest)
}
