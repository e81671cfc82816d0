package main

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/tieback/internal/commandtest"
)

// besides runs a line of the command, and returns what it prints on both outputs.
func besides(t *testing.T, line string) (code int, out string) {
	t.Helper()
	var b strings.Builder
	cmd := root()
	cmd.SetIn(strings.NewReader(""))
	cmd.SetOut(&b)
	cmd.SetErr(&b)
	cmd.SetArgs(strings.Fields(line))
	return codeOf(&b, cmd.ExecuteContext(t.Context())), b.String()
}

// Each operator command works beside tieback run, through its socket, and from elsewhere, with a token. Without a right, a caller
// gets nothing. The name of who acts is the user's of this machine, or the token's.
func TestCommandsBesideRun(t *testing.T) {
	const token, viewer = "operator-token-0123456789abcdef", "viewer-token-0123456789abcdefgh"
	commandtest.Settings(t, 7, 8)
	procoreLists(t, map[int64]string{1: "failed", 2: "failed"})
	access := filepath.Join(t.TempDir(), "access.yaml")
	if err := os.WriteFile(access, fmt.Appendf(nil, `tokens:
  - {name: ann, token_sha256: [%x], role: operator, companies: all, payloads: true}
  - {name: vic, token_sha256: [%x], role: viewer, companies: [8]}
`, sha256.Sum256([]byte(token)), sha256.Sum256([]byte(viewer))), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TIEBACK_CONSOLE_ACCESS", access)
	b, leave := commandtest.Embedded(t)
	for id := range int64(2) {
		h := &recorded{T: t, bus: b, request: id + 1}
		h.clicked(true)
		h.dies("The ERP is down.")
		h.ended("", h.dead(h.closed(tiebackv1.Status_STATUS_FAILED, "", "The ERP is down.")))
	}
	leave()
	url, _ := commandtest.Serve(t)
	lines := []struct {
		line string
		code int
		says string
	}{
		{"status", 1, "2 unresolved dead letters"},
		{"requests --failed --contains vendor", 0, "attention"},
		{"trace 1 --company 7", 0, "Closed as failed"},
		{"dead list", 0, "2 dead letters: 2 erp."},
		{"dead show 1", 0, "connection refused"},
		{"audit --company 7 --all", 0, "All requests are accounted for."},
		{"sweep --company 7", 0, "every ERP request has arrived"},
		{"links list --company 7", 0, "ITEM TYPE"},
		{"status --company 9", 2, "company 9 is not in the companies file, which has 7, 8"},
	}
	for where, set := range map[string][2]string{"the socket": {}, "a URL": {url, token}} {
		t.Setenv("TIEBACK_URL", set[0])
		t.Setenv("TIEBACK_TOKEN", set[1])
		for _, c := range lines {
			code, out := besides(t, c.line)
			for range 50 { // until the index has read the streams
				if strings.HasPrefix(c.line, "requests") && strings.Contains(out, "No request matches") {
					code, out = besides(t, c.line)
				}
			}
			if code != c.code || !strings.Contains(out, c.says) {
				t.Errorf("%s by %s: exit %d, want %d and %q\n%s", c.line, where, code, c.code, c.says, out)
			}
		}
	}
	t.Setenv("TIEBACK_URL", url)
	t.Setenv("TIEBACK_TOKEN", token)
	if code, out := besides(t, "dead discard 1 --reason test"); code != 0 || !strings.Contains(out, "discarded") {
		t.Errorf("discarded by its token: exit %d\n%s", code, out)
	}
	if _, out := besides(t, "dead show 1"); !strings.Contains(out, "was discarded by ann") {
		t.Errorf("the resolver is not the token's name:\n%s", out)
	}
	for _, c := range []struct {
		token, line string
		code        int
		says        string
	}{
		{viewer, "dead show 1", 1, "there is no dead letter 1"},
		{viewer, "dead discard 2 --reason test", 1, "there is no dead letter 2"},
		{viewer, "trace 1 --company 7", 1, "company 7 does not exist, or vic may not see it"},
		{viewer, "sweep --company 8", 1, "vic may only look at company 8"},
		{viewer, "dead list", 0, "No dead letters."},
		{viewer, "status", 1, "start the service export"},
		{token, "dead discard 2 --reason test --as bob", 2, "records the name of its caller"},
		{"wrong-token-0123456789abcdefghij", "status", 2, "refuses the token"},
	} {
		t.Setenv("TIEBACK_TOKEN", c.token)
		if code, out := besides(t, c.line); code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("%s: exit %d, want %d and %q\n%s", c.line, code, c.code, c.says, out)
		}
	}
	t.Setenv("TIEBACK_TOKEN", viewer)
	if _, out := besides(t, "status"); strings.Contains(out, "dead letter") || strings.Contains(out, "\n7 ") {
		t.Errorf("a viewer of company 8 sees\n%s", out)
	}
	t.Setenv("TIEBACK_URL", "")
	if code, out := besides(t, "dead replay 2 --as bob"); code != 0 || !strings.Contains(out, "replayed") {
		t.Errorf("replayed by the socket: exit %d\n%s", code, out)
	}
	if _, out := besides(t, "dead show 2"); !strings.Contains(out, "was replayed by bob") {
		t.Errorf("the resolver is not the one of --as:\n%s", out)
	}
}

// A token is sent neither over plain http, nor to the server that a redirect names.
func TestTokenGoesToTheConsoleOnly(t *testing.T) {
	commandtest.Settings(t, 7)
	stolen := ""
	thief := commandtest.HTTP(t, func(_ http.ResponseWriter, r *http.Request) { stolen = r.Header.Get("Authorization") })
	t.Setenv("TIEBACK_TOKEN", "operator-token-0123456789abcdef")
	t.Setenv("TIEBACK_URL", commandtest.HTTP(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, thief, http.StatusTemporaryRedirect) }))
	if code, out := besides(t, "status"); code == 0 || stolen != "" {
		t.Errorf("exit %d, and the other server got %q\n%s", code, stolen, out)
	}
	t.Setenv("TIEBACK_URL", "http://tieback.example.com")
	if code, out := besides(t, "status"); code != 2 || !strings.Contains(out, "use https") {
		t.Errorf("exit %d\n%s", code, out)
	}
	t.Setenv("TIEBACK_TOKEN_FILE", "somewhere")
	if code, out := besides(t, "status"); code != 2 || !strings.Contains(out, "unset one") {
		t.Errorf("exit %d\n%s", code, out)
	}
}
