package access

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tieback/tieback/pkg/tokenhash"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

func hashOf(token string) string { h := tokenhash.Of(token); return hex.EncodeToString(h[:]) }

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func opened(t *testing.T, text string) *Gate {
	t.Helper()
	path := filepath.Join(t.TempDir(), "access.yaml")
	write(t, path, text)
	g, err := Open(path, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// who answers with the caller and what it may do for company 7.
var who = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	c := From(r.Context())
	fmt.Fprintf(w, "%s see=%v payload=%v act=%v all=%v", c.Name, c.May(See, 7), c.May(SeePayload, 7), c.May(Act, 7), c.May(See, 0))
})

// browser keeps cookies and follows redirects.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar}
}

func get(t *testing.T, c *http.Client, url string, change ...func(*http.Request)) (int, string, http.Header) {
	t.Helper()
	return do(t, c, http.MethodGet, url, nil, change...)
}

func do(t *testing.T, c *http.Client, method, url string, form url.Values, change ...func(*http.Request)) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, f := range change {
		f(r)
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body), res.Header
}

func with(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

var tokens = fmt.Sprintf(`tokens:
  - {name: reporting, token_sha256: [%s], role: viewer, companies: [7]}
  - {name: on call, token_sha256: [%s], role: operator, companies: all, payloads: true}
  - {name: other, token_sha256: [%s], role: operator, companies: [8], payloads: true}
`, hashOf("view"), hashOf("operate"), hashOf("eight"))

func TestRolePerCompany(t *testing.T) {
	srv := httptest.NewServer(opened(t, tokens).Handler(who))
	defer srv.Close()
	for token, want := range map[string]string{
		"view":    "reporting see=true payload=false act=false all=false",
		"operate": "on call see=true payload=true act=true all=true",
		"eight":   "other see=false payload=false act=false all=false",
	} {
		if status, body, _ := get(t, srv.Client(), srv.URL+"/x", with("Authorization", "bearer "+token)); status != 200 || body != want {
			t.Errorf("%s: %d %s, want %s", token, status, body, want)
		}
	}
}

func TestCaller(t *testing.T) {
	c := NewCaller("a", Grant{Role: Viewer, Companies: []int64{9, 7}}, Grant{Role: Operator, Companies: []int64{8, 7}}, Grant{Role: "root", All: true, Payloads: true}, Grant{})
	if ids, all := c.Companies(See); all || !slices.Equal(ids, []int64{7, 8, 9}) {
		t.Errorf("sees %v %v", ids, all)
	}
	if ids, all := c.Companies(Act); all || !slices.Equal(ids, []int64{7, 8}) {
		t.Errorf("acts for %v %v", ids, all)
	}
	if c.MayAny(SeePayload) || c.May(See, 0) || c.May(Action(0), 7) || c.May(Act, 9) || !c.May(Act, 8) {
		t.Error("a grant gives something else")
	}
	var none Caller
	if none.May(See, 7) || none.May(See, 0) || none.MayAny(See) || From(t.Context()).MayAny(See) {
		t.Error("the zero value may do something")
	}
	if o := Owner("me"); !o.May(Act, 0) || !o.May(SeePayload, 7) {
		t.Error("an owner may not do everything")
	}
}

// Programs get an error of the API, browsers the sign-in page, htmx a header that loads it.
func TestNotSignedIn(t *testing.T) {
	srv := httptest.NewServer(opened(t, tokens).Handler(who))
	defer srv.Close()
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	status, _, h := get(t, c, srv.URL+"/requests?text=a")
	if status != 303 || h.Get("Location") != "/sign-in?to=%2Frequests%3Ftext%3Da" {
		t.Errorf("page: %d %v", status, h)
	}
	status, _, h = get(t, c, srv.URL+"/", with("HX-Request", "true"), with("HX-Current-URL", srv.URL+"/requests?text=a"))
	if status != 401 || h.Get("HX-Redirect") != "/sign-in?to=%2Frequests%3Ftext%3Da" {
		t.Errorf("htmx: %d %v", status, h)
	}
	status, body, h := do(t, c, http.MethodPost, srv.URL+"/tieback.operator.v1.OverviewService/GetOverview", nil, with("Content-Type", "application/json"))
	if status != 401 || !strings.Contains(body, `"code":"unauthenticated"`) || h.Get("Content-Type") != "application/json" {
		t.Errorf("API: %d %s %v", status, body, h)
	}
	status, body, _ = do(t, c, http.MethodPost, srv.URL+"/dead/replay", url.Values{"id": {"1"}})
	if status != 401 || !strings.Contains(body, "nothing was done") {
		t.Errorf("post: %d %s", status, body)
	}
	if status, _, _ = get(t, c, srv.URL+"/static/console.css"); status != 200 {
		t.Errorf("a static file needs a caller: %d", status)
	}
}

func TestHeaders(t *testing.T) {
	for name, file := range map[string]string{"https": "public_url: https://console.example.com\n" + tokens, "none": tokens} {
		g := opened(t, file)
		for _, path := range []string{"/", "/sign-in", "/static/x", "/sign-in/callback", "/sign-in/link"} {
			w := httptest.NewRecorder()
			g.Handler(who).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "https://console.example.com"+path, nil))
			h := w.Header()
			if h.Get("Content-Security-Policy") != policy || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: %v", name, path, h)
			}
			if (h.Get("Strict-Transport-Security") != "") != (name == "https") {
				t.Errorf("%s %s: %v", name, path, h)
			}
		}
	}
}

func TestSignInWithToken(t *testing.T) {
	g := opened(t, tokens)
	at := time.Now()
	g.now = func() time.Time { return at }
	srv := httptest.NewServer(g.Handler(who))
	defer srv.Close()
	c := browser(t)
	status, body, _ := do(t, c, http.MethodPost, srv.URL+"/sign-in", url.Values{"token": {"wrong"}})
	if status != 401 || !strings.Contains(body, `role="alert"`) {
		t.Errorf("wrong token: %d %s", status, body)
	}
	status, body, _ = do(t, c, http.MethodPost, srv.URL+"/sign-in", url.Values{"token": {"view"}, "to": {"/requests?text=a"}})
	if status != 200 || !strings.HasPrefix(body, "reporting ") {
		t.Errorf("right token: %d %s", status, body)
	}
	at = at.Add(defaultSession - time.Second)
	if _, body, _ := get(t, c, srv.URL+"/"); !strings.HasPrefix(body, "reporting ") {
		t.Errorf("before the session ends: %s", body)
	}
	at = at.Add(2 * time.Second)
	if _, body, _ := get(t, c, srv.URL+"/"); !strings.Contains(body, "<h1>Sign in</h1>") {
		t.Errorf("an expired session is accepted: %s", body)
	}
}

func TestSignOutEndsTheSession(t *testing.T) {
	srv := httptest.NewServer(opened(t, tokens).Handler(who))
	defer srv.Close()
	c := browser(t)
	do(t, c, http.MethodPost, srv.URL+"/sign-in", url.Values{"token": {"view"}})
	at, _ := url.Parse(srv.URL)
	stolen := c.Jar.Cookies(at)
	if len(stolen) != 1 || stolen[0].Name != sessionCookie {
		t.Fatalf("%v", stolen)
	}
	if status, body, _ := do(t, c, http.MethodPost, srv.URL+"/sign-out", url.Values{}); status != 200 || !strings.Contains(body, "You are signed out.") || len(c.Jar.Cookies(at)) != 0 {
		t.Errorf("%d %s", status, body)
	}
	if _, body, _ := get(t, browser(t), srv.URL+"/", with("Cookie", stolen[0].String())); !strings.Contains(body, "<h1>Sign in</h1>") {
		t.Errorf("the cookie of an ended session is accepted: %s", body)
	}
}

// A session at an earlier sign-in ends at the next one, so that a planted cookie is worth nothing.
func TestSessionIsNewAtEachSignIn(t *testing.T) {
	srv := httptest.NewServer(opened(t, tokens).Handler(who))
	defer srv.Close()
	c, at := browser(t), must(url.Parse(srv.URL))
	do(t, c, http.MethodPost, srv.URL+"/sign-in", url.Values{"token": {"view"}})
	first := c.Jar.Cookies(at)[0].String()
	do(t, c, http.MethodPost, srv.URL+"/sign-in", url.Values{"token": {"operate"}})
	if _, body, _ := get(t, browser(t), srv.URL+"/", with("Cookie", first)); !strings.Contains(body, "<h1>Sign in</h1>") {
		t.Error(body)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestCookie(t *testing.T) {
	for name, c := range map[string]struct {
		file, host string
		secure     bool
	}{
		"public":         {"public_url: https://console.example.com\n" + tokens, "console.example.com", true},
		"public, by IP":  {"public_url: https://console.example.com\n" + tokens, "127.0.0.1", true},
		"loopback":       {tokens, "127.0.0.1:8080", false},
		"loopback, IPv6": {tokens, "[::1]:8080", false},
		"localhost":      {tokens, "localhost:8080", false},
		"another host":   {tokens, "console:8080", true},
		"a lookalike":    {tokens, "localhost.example.com", true},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/sign-in", strings.NewReader("token=view"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Host = c.host
		opened(t, c.file).Handler(who).ServeHTTP(w, r)
		cookies := w.Result().Cookies()
		if len(cookies) != 1 {
			t.Fatalf("%s: %d %v", name, w.Code, cookies)
		}
		k := cookies[0]
		if k.Secure != c.secure || !k.HttpOnly || k.SameSite != http.SameSiteLaxMode || k.Path != "/" || k.Domain != "" || k.MaxAge != 8*3600 || len(k.Value) < 26 || strings.HasPrefix(k.Name, "__Host-") != c.secure {
			t.Errorf("%s: %v", name, k)
		}
	}
}

func TestForgedCrossOriginPost(t *testing.T) {
	done := false
	act := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { done = true })
	srv := httptest.NewServer(opened(t, tokens).Handler(act))
	defer srv.Close()
	c := browser(t)
	do(t, c, http.MethodPost, srv.URL+"/sign-in", url.Values{"token": {"operate"}})
	for _, path := range []string{"/dead/discard", "/tieback.operator.v1.DeadLetterService/Discard", "/sign-in", "/sign-out"} {
		for name, h := range map[string][2]string{"another site": {"Sec-Fetch-Site", "cross-site"}, "a sibling": {"Sec-Fetch-Site", "same-site"}, "an old browser": {"Origin", "https://evil.example.com"}, "a frame": {"Origin", "null"}} {
			done = false
			if status, _, _ := do(t, c, http.MethodPost, srv.URL+path, url.Values{"token": {"view"}}, with(h[0], h[1])); status != 403 || done {
				t.Errorf("%s from %s: %d", path, name, status)
			}
		}
	}
	if status, _, _ := do(t, c, http.MethodPost, srv.URL+"/dead/discard", url.Values{}, with("Sec-Fetch-Site", "same-origin"), with("Origin", srv.URL)); status != 200 || !done {
		t.Errorf("the console's own post: %d", status)
	}
}

// watched runs Watch until the test ends.
func watched(t *testing.T, g *Gate) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); g.Watch(ctx, time.Millisecond) }()
	t.Cleanup(func() { cancel(); <-done })
}

func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !so(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// During a rotation both tokens are valid. Once the old one is removed, its sessions end.
func TestTokenRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.yaml")
	file := func(hashes ...string) string {
		return fmt.Sprintf("tokens: [{name: reporting, token_sha256: [%s], role: viewer, companies: all}]\n", strings.Join(hashes, ", "))
	}
	write(t, path, file(hashOf("old")))
	core, logged := observer.New(zapcore.ErrorLevel)
	g, err := Open(path, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	watched(t, g)
	srv := httptest.NewServer(g.Handler(who))
	defer srv.Close()
	c := browser(t)
	do(t, c, http.MethodPost, srv.URL+"/sign-in", url.Values{"token": {"old"}})
	valid := func(token string) bool {
		_, ok := must2(g.tokenOf(httptest.NewRequest(http.MethodGet, "/", nil), token))
		g.failures = failures{}
		return ok
	}
	write(t, path, file(hashOf("old"), hashOf("new")))
	until(t, "the new token is not accepted", func() bool { return valid("new") && valid("old") })
	write(t, path, "tokens: [")
	until(t, "no error is logged", func() bool { return logged.Len() == 1 })
	if !valid("old") || !valid("new") {
		t.Error("an invalid file removed the tokens")
	}
	write(t, path, file(hashOf("new")))
	until(t, "the old token is still accepted", func() bool { return !valid("old") && valid("new") })
	if _, body, _ := get(t, c, srv.URL+"/"); !strings.Contains(body, "<h1>Sign in</h1>") {
		t.Errorf("a session of the removed token is accepted: %s", body)
	}
}

func must2[T any](v T, err error) (T, bool) { return v, err == nil }

func TestFailedSignInsAreLimited(t *testing.T) {
	g := opened(t, "proxies: [127.0.0.0/8]\n"+tokens)
	at := time.Now()
	g.now = func() time.Time { return at }
	srv := httptest.NewServer(g.Handler(who))
	defer srv.Close()
	try := func(token, from string) int {
		status, _, _ := get(t, srv.Client(), srv.URL+"/", with("Authorization", "Bearer "+token), with("X-Forwarded-For", "203.0.113.9, "+from))
		return status
	}
	for range maxFailures {
		if status := try("wrong", "192.0.2.1"); status != 401 {
			t.Fatal(status)
		}
	}
	for what, is := range map[string][2]int{
		"one more":                   {try("wrong", "192.0.2.1"), 429},
		"a right guess after it":     {try("view", "192.0.2.1"), 429},
		"another address":            {try("view", "192.0.2.2"), 200},
		"an address that it claims":  {try("view", "192.0.2.2, 192.0.2.1"), 429},
		"another address of its net": {try("view", "2001:db8::1"), 200},
	} {
		if is[0] != is[1] {
			t.Errorf("%s: %d, want %d", what, is[0], is[1])
		}
	}
	at = at.Add(failureInterval + time.Second)
	if status := try("view", "192.0.2.1"); status != 200 {
		t.Errorf("later: %d", status)
	}
	if status, _, _ := get(t, srv.Client(), srv.URL+"/", with("Authorization", "Basic dmlldw==")); status != 401 {
		t.Errorf("another scheme: %d", status)
	}
}

func TestClientAddress(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for name, c := range map[string]struct{ peer, header, want string }{
		"direct":               {"192.0.2.1:9", "", "192.0.2.1"},
		"direct, with a claim": {"192.0.2.1:9", "192.0.2.7", "192.0.2.1"},
		"by a proxy":           {"10.0.0.1:9", "192.0.2.7", "192.0.2.7"},
		"by two":               {"10.0.0.1:9", "198.51.100.1, 192.0.2.7, 10.2.0.1", "192.0.2.7"},
		"by a proxy, garbage":  {"10.0.0.1:9", "x", "10.0.0.1"},
		"by a proxy, none":     {"10.0.0.1:9", "", "10.0.0.1"},
		"IPv6":                 {"[2001:db8:1:2:3::4]:9", "", "2001:db8:1:2::"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.peer
		r.Header.Set("X-Forwarded-For", c.header)
		if is := client(r, proxies).String(); is != c.want {
			t.Errorf("%s: %s, want %s", name, is, c.want)
		}
	}
}

func TestFailuresAndSessionsAreBounded(t *testing.T) {
	var f failures
	now := time.Now()
	for i := range 2 * maxAddresses {
		f.add(now, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})) //nolint:gosec // the parts of i
	}
	if len(f.by) > maxAddresses {
		t.Errorf("%d addresses", len(f.by))
	}
	var s sessions
	first := s.add(now, identity{name: "first"}, now.Add(time.Second))
	for range maxSessions {
		s.add(now, identity{}, now.Add(time.Hour))
	}
	if _, ok := s.get(now, first); ok || len(s.all) != maxSessions {
		t.Errorf("%d sessions, the one that ends first is kept: %v", len(s.all), ok)
	}
}

func TestOneTimeLink(t *testing.T) {
	g := Local(zap.NewNop())
	at := time.Now()
	g.now = func() time.Time { return at }
	srv := httptest.NewServer(g.Handler(who))
	defer srv.Close()
	c, link := browser(t), g.Link()
	if status, body, _ := get(t, c, srv.URL+link); status != 200 || !strings.HasSuffix(body, "see=true payload=true act=true all=true") {
		t.Errorf("%d %s", status, body)
	}
	if status, body, _ := get(t, browser(t), srv.URL+link); status != 401 || !strings.Contains(body, "can be used once") {
		t.Errorf("used twice: %d %s", status, body)
	}
	late := g.Link()
	at = at.Add(linkTime)
	if status, _, _ := get(t, browser(t), srv.URL+late); status != 401 {
		t.Errorf("too late: %d", status)
	}
	if status, _, _ := get(t, browser(t), srv.URL+"/sign-in/link?once="); status != 401 {
		t.Errorf("no link: %d", status)
	}
	// Another site's name that resolves to 127.0.0.1.
	if status, _, _ := get(t, c, srv.URL+g.Link(), func(r *http.Request) { r.Host = "evil.example.com" }); status != http.StatusMisdirectedRequest {
		t.Errorf("another host: %d", status)
	}
	for range maxFailures {
		get(t, browser(t), srv.URL+"/sign-in/link?once=guess")
	}
	if status, _, _ := get(t, browser(t), srv.URL+g.Link()); status != 429 {
		t.Errorf("after many guesses: %d", status)
	}
	if opened(t, tokens).Link() != "" {
		t.Error("a gate with a file gives a link")
	}
}

func TestReturnOnlyToTheConsole(t *testing.T) {
	for to, want := range map[string]string{
		"/requests?text=a&x=%2F": "/requests?text=a&x=%2F", "": "/", "https://evil.example.com/": "/", "//evil.example.com": "/", "/\\evil.example.com": "/", "javascript:alert(1)": "/",
		"/sign-in?to=/": "/", "x": "/", "/a\r\nSet-Cookie: b": "/", "/%2F/evil.example.com": "/", "/" + strings.Repeat("a", 3000): "/",
	} {
		if is := local(to); is != want {
			t.Errorf("%.40q: %q, want %q", to, is, want)
		}
	}
}

// openIDGate is a gate with a provider.
func openIDGate(t *testing.T, p *openID) (*Gate, *httptest.Server) {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "hush\n")
	g := opened(t, fmt.Sprintf(`public_url: http://%s
openid:
  issuer: %s
  client_id: tieback
  client_secret_file: %s
  scopes: [email, groups]
  roles:
    - {value: operators, role: operator, companies: [7], payloads: true}
    - {value: accounting, role: viewer, companies: [8]}
`, srv.Listener.Addr(), p.URL, secret))
	srv.Config.Handler = g.Handler(who)
	srv.Start()
	t.Cleanup(srv.Close)
	return g, srv
}

func anna(groups ...string) map[string]any {
	return map[string]any{"email": "anna@example.com", "email_verified": true, "groups": groups}
}

func TestOpenIDConnect(t *testing.T) {
	p := newOpenID(t, anna("staff", "operators"))
	g, srv := openIDGate(t, p)
	at := time.Now()
	g.now = func() time.Time { return at }
	c := browser(t)
	if _, body, _ := get(t, c, srv.URL+"/requests?text=a"); !strings.Contains(body, `href="/sign-in/start?to=%2frequests%3ftext%3da"`) {
		t.Errorf("the sign-in page: %s", body)
	}
	status, body, _ := get(t, c, srv.URL+"/sign-in/start?to=/requests%3Ftext%3Da")
	if status != 200 || body != "anna@example.com see=true payload=true act=true all=false" {
		t.Fatalf("%d %s", status, body)
	}
	at = at.Add(defaultSession + time.Second)
	if _, body, _ := get(t, c, srv.URL+"/"); !strings.Contains(body, "<h1>Sign in</h1>") {
		t.Errorf("an expired session is accepted: %s", body)
	}
}

func TestOpenIDConnectRoles(t *testing.T) {
	for name, c := range map[string]struct {
		person map[string]any
		status int
		says   string
	}{
		"a group without a role": {anna("staff"), 403, "anna@example.com, but have no role"},
		"no groups":              {map[string]any{"email": "a@example.com", "email_verified": true}, 403, "have no role"},
		"one group as a text":    {map[string]any{"groups": "operators"}, 200, "user-1 see=true"},
		"groups of another kind": {map[string]any{"groups": map[string]any{"operators": true}}, 403, "have no role"},
		"numbers":                {map[string]any{"groups": []any{1, "operators"}}, 200, "user-1 see=true"},
		"an unverified email":    {map[string]any{"email": "boss@example.com", "email_verified": false, "groups": "operators"}, 200, "user-1 see=true"},
		"an unknown email":       {map[string]any{"email": "boss@example.com", "groups": "operators"}, 200, "user-1 see=true"},
		"another company":        {anna("accounting"), 200, "anna@example.com see=false payload=false act=false"},
		"a hostile name":         {map[string]any{"email": "a\u202e<b>\x00@example.com", "email_verified": true}, 403, "a&lt;b&gt;@example.com, but"},
	} {
		_, srv := openIDGate(t, newOpenID(t, c.person))
		if status, body, _ := get(t, browser(t), srv.URL+"/sign-in/start"); status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

// No session begins unless the provider confirms this sign-in of this browser.
func TestOpenIDConnectRefuses(t *testing.T) {
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	set := func(name string, value any) func(*openID) {
		return func(p *openID) { p.change = func(claims map[string]any) { claims[name] = value } }
	}
	for name, change := range map[string]func(*openID){
		"wrong nonce":          set("nonce", "another"),
		"no nonce":             set("nonce", ""),
		"another audience":     set("aud", "somebody-else"),
		"another issuer":       set("iss", "https://evil.example.com"),
		"an expired token":     set("exp", time.Now().Add(-time.Hour).Unix()),
		"an unknown signature": func(p *openID) { p.signer = stranger },
	} {
		p := newOpenID(t, anna("operators"))
		change(p)
		_, srv := openIDGate(t, p)
		c := browser(t)
		status, body, _ := get(t, c, srv.URL+"/sign-in/start")
		if status < 400 || !strings.Contains(body, `role="alert"`) {
			t.Errorf("%s: %d %s", name, status, body)
		}
		if cookies := c.Jar.Cookies(must(url.Parse(srv.URL))); len(cookies) != 0 {
			t.Errorf("%s: cookies %v", name, cookies)
		}
	}
}

func TestOpenIDConnectState(t *testing.T) {
	p := newOpenID(t, anna("operators"))
	g, srv := openIDGate(t, p)
	at := time.Now()
	g.now = func() time.Time { return at }
	// answerOf begins a sign-in in a browser and returns the provider's answer, not followed.
	answerOf := func(c *http.Client) string {
		c.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
			if r.URL.Path == pathCallback {
				return http.ErrUseLastResponse
			}
			return nil
		}
		_, _, h := get(t, c, srv.URL+"/sign-in/start")
		c.CheckRedirect = nil
		return h.Get("Location")
	}
	mine, yours := browser(t), browser(t)
	answer := answerOf(mine)
	if status, body, _ := get(t, browser(t), answer); status != 400 || !strings.Contains(body, "Start again") {
		t.Errorf("a browser that began none: %d %s", status, body)
	}
	if answerOf(yours); true {
		if status, _, _ := get(t, yours, answer); status != 400 {
			t.Errorf("the answer to another browser: %d", status)
		}
	}
	tampered := strings.Replace(answer, "state=", "state=x", 1)
	if status, _, _ := get(t, mine, tampered); status != 400 {
		t.Errorf("a changed state: %d", status)
	}
	if status, _, _ := get(t, mine, answer); status != 400 {
		t.Errorf("an attempt used before: %d", status)
	}
	answer = answerOf(mine)
	if status, _, _ := get(t, mine, answer+"&iss=https%3A%2F%2Fevil.example.com"); status != 400 {
		t.Errorf("another issuer: %d", status)
	}
	answer = answerOf(mine)
	at = at.Add(attemptTime)
	if status, _, _ := get(t, mine, answer); status != 400 {
		t.Errorf("too late: %d", status)
	}
	answer = answerOf(mine)
	if status, body, _ := get(t, mine, answer); status != 200 || !strings.HasPrefix(body, "anna@") {
		t.Errorf("the right one: %d %s", status, body)
	}
	if status, _, _ := get(t, mine, srv.URL+pathCallback+"?error=access_denied&state=x"); status != 400 {
		t.Errorf("an error without a sign-in: %d", status)
	}
}

// A provider that does not answer fails the sign-in, and the next one succeeds.
func TestOpenIDConnectProviderIsDown(t *testing.T) {
	p := newOpenID(t, anna("operators"))
	_, srv := openIDGate(t, p)
	handler := p.Config.Handler
	p.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	if status, body, _ := get(t, browser(t), srv.URL+"/sign-in/start"); status != 502 || !strings.Contains(body, "does not answer") {
		t.Errorf("%d %s", status, body)
	}
	p.Config.Handler = handler
	if status, body, _ := get(t, browser(t), srv.URL+"/sign-in/start"); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

// The roles of a session are those of the current file.
func TestRolesOfASessionFollowTheFile(t *testing.T) {
	p := newOpenID(t, anna("operators"))
	g, srv := openIDGate(t, p)
	watched(t, g)
	c := browser(t)
	get(t, c, srv.URL+"/sign-in/start")
	raw, err := os.ReadFile(g.path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, g.path, strings.Replace(string(raw), "role: operator, companies: [7]", "role: viewer, companies: [7]", 1))
	until(t, "still an operator", func() bool {
		_, body, _ := get(t, c, srv.URL+"/")
		return strings.Contains(body, "see=true payload=true act=false")
	})
	write(t, g.path, strings.Replace(string(raw), "value: operators", "value: others", 1))
	until(t, "still a viewer", func() bool { status, _, _ := get(t, c, srv.URL+"/"); return status == 403 })
	write(t, g.path, strings.Replace(string(raw), "client_id: tieback", "client_id: another", 1))
	until(t, "a session of another client is accepted", func() bool {
		_, body, _ := get(t, c, srv.URL+"/")
		return strings.Contains(body, "<h1>Sign in</h1>")
	})
}

func TestFileErrors(t *testing.T) {
	good := "public_url: https://t.example.com\nopenid:\n  issuer: https://login.example.com\n  client_id: tieback\n  roles:\n    - value: ops\n      role: operator\n      companies: all\n" +
		"tokens:\n  - name: a\n    token_sha256: [" + hashOf("a") + "]\n    role: viewer\n    companies: [7]\n"
	if _, err := parse([]byte(good), nil); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, says string }{
		"empty":              {good, "", "line 1: openid: is missing, and tokens too"},
		"not YAML":           {good, "tokens: [", "yaml: line 1"},
		"unknown field":      {"client_id:", "clientid:", "line 4: clientid is not a field of this part"},
		"unknown in a token": {"- name: a", "- nam: a", "line 10: nam is not a field"},
		"inline secret":      {"client_id: tieback", "client_id: tieback\n  client_secret: hush", "line 5: client_secret is not a field"},
		"no public URL":      {"public_url: https://t.example.com", "", "public_url: is missing"},
		"public URL":         {"https://t.example.com", "http://t.example.com", "line 1: public_url: must begin with https://"},
		"a path":             {"https://t.example.com", "https://t.example.com/x", "line 1: public_url: must be the base URL"},
		"issuer":             {"https://login.example.com", "login.example.com", "line 3: openid.issuer: must be"},
		"no client":          {"client_id: tieback", "client_id: ''", "line 4: openid.client_id: is missing"},
		"secret file":        {"client_id: tieback", "client_id: tieback\n  client_secret_file: /nowhere", "line 5: openid.client_secret_file: open /nowhere: no such file"},
		"no roles":           {"  roles:\n    - value: ops\n      role: operator\n      companies: all\n", "", "openid.roles: is missing"},
		"no value":           {"value: ops", "value: ''", "line 6: openid.roles[0].value: is missing"},
		"role":               {"role: operator", "role: admin", "line 7: openid.roles[0].role: must be viewer or operator"},
		"no role":            {"    role: viewer\n", "", "line 10: tokens[0].role: must be viewer or operator"},
		"no companies":       {"      companies: all\n", "", "line 6: openid.roles[0].companies: must be all, or a list"},
		"companies":          {"companies: all", "companies: [acme]", "line 8: companies must be all, or a list"},
		"a company":          {"companies: all", "companies: 7", "line 8: companies must be all, or a list"},
		"company 0":          {"companies: [7]", "companies: [0]", "line 13: companies must be all, or a list"},
		"the token itself":   {hashOf("a"), "hush-hush-hush-hush", "line 11: tokens[0].token_sha256: is not a SHA-256"},
		"no token":           {"[" + hashOf("a") + "]", "[]", "line 11: tokens[0].token_sha256: needs one hash"},
		"the empty token":    {hashOf("a"), hashOf(""), "line 11: tokens[0].token_sha256: is the hash of an empty token"},
		"a text for a list":  {"[" + hashOf("a") + "]", "hush-hush", "line 11: a value of another kind is expected"},
		"token's name":       {"name: a", "name: 'a\tb'", "line 10: tokens[0].name: must be"},
		"session":            {"tokens:", "session: 1s\ntokens:", "line 9: session: must be between"},
		"session of text":    {"tokens:", "session: hush\ntokens:", "line 9: a value of another kind is expected"},
		"proxies":            {"tokens:", "proxies: [10.0.0.1]\ntokens:", "line 9: proxies[0]: must be a range"},
		"a token twice":      {"tokens:", "tokens:\n  - {name: b, token_sha256: [" + hashOf("a") + "], role: viewer, companies: all}", "line 12: tokens[1].token_sha256: another token has this hash"},
		"a name twice":       {"tokens:", "tokens:\n  - {name: a, token_sha256: [" + hashOf("b") + "], role: viewer, companies: all}", "line 11: tokens[1].name: another token has this name"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if text == good {
			t.Fatalf("%s: nothing is replaced", name)
		}
		path := filepath.Join(t.TempDir(), "access.yaml")
		write(t, path, text)
		_, err := Open(path, zap.NewNop())
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hush") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none"), zap.NewNop()); err == nil {
		t.Error("a missing file is accepted")
	}
}

// Serve limits headers and bodies, and ends streams with the session.
func TestServeLimits(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	var deadline time.Time
	go func() {
		done <- opened(t, tokens).Serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			deadline, _ = r.Context().Deadline()
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
			}
		}))
	}()
	base, token := "http://"+l.Addr().String(), with("Authorization", "Bearer view")
	if status, _, _ := get(t, http.DefaultClient, base+"/", token); status != 200 || time.Until(deadline) > maxCall || deadline.IsZero() {
		t.Errorf("%d, deadline %v", status, deadline)
	}
	if status, _, _ := get(t, http.DefaultClient, base+"/", token, with("X-Long", strings.Repeat("a", 2*maxHeader))); status != 431 {
		t.Errorf("long headers: %d", status)
	}
	body := func(n int) func(*http.Request) {
		return func(r *http.Request) {
			r.Body = io.NopCloser(io.LimitReader(zeros{}, int64(n)))
			r.ContentLength = int64(n)
		}
	}
	if status, _, _ := do(t, http.DefaultClient, http.MethodPost, base+"/", nil, token, body(maxBody)); status != 200 {
		t.Errorf("the largest body: %d", status)
	}
	if status, _, _ := do(t, http.DefaultClient, http.MethodPost, base+"/", nil, token, func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(io.LimitReader(zeros{}, maxBody+1)), -1 }); status != 413 {
		t.Errorf("a larger body: %d", status)
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// The user of a socket is its owner, in the name that its client gives. A gate ignores that name.
func TestAsOwner(t *testing.T) {
	for _, c := range []struct{ header, want string }{{"", "anna"}, {"ben@laptop", "ben@laptop"}} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer x")
		r.Header.Set(UserHeader, c.header)
		AsOwner("anna", who).ServeHTTP(w, r)
		if w.Body.String() != c.want+" see=true payload=true act=true all=true" {
			t.Error(w.Body)
		}
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set(UserHeader, "ben@laptop")
	Local(zap.NewNop()).Handler(who).ServeHTTP(w, r)
	if strings.Contains(w.Body.String(), "ben") {
		t.Errorf("a gate takes the name of a header: %s", w.Body)
	}
}
