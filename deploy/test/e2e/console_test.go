package endtoend

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console"
	"github.com/tieback/tieback/services/console/access"
	"github.com/tieback/tieback/services/console/api"
)

// operated is a console on a running pipeline.
type operated struct {
	*world
	url, link string
	api       api.Client
}

// console serves the console on l until the test ends. With an access file in l's settings there is no link.
func (l *line) console() *operated {
	w := l.world
	w.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	dir, err := os.MkdirTemp("", "tb") // the path of a socket is short
	w.must(err)
	o := &operated{world: w, url: "http://" + listener.Addr().String()}
	socket, link := filepath.Join(dir, "s"), make(chan string, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- console.Run(ctx, l.App, console.Options{Listener: listener, Socket: socket, Link: func(s string) { link <- s }})
	}()
	w.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("the console ended with: %v", err)
		}
		_ = os.RemoveAll(dir)
	})
	if l.Settings.ConsoleAccess != "" {
		link <- "" // none is made
	}
	select {
	case o.link = <-link:
	case err := <-done:
		done <- nil
		w.Fatalf("the console did not start: %v", err)
	}
	var hangUp func()
	o.api, hangUp = api.DialAs("", func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "unix", socket) })
	w.Cleanup(hangUp)
	return o
}

// eventually repeats check until it returns "", and fails with what it returned last.
func (w *world) eventually(check func() string) {
	w.Helper()
	w.eventuallyWithin(patience, check)
}

func (w *world) eventuallyWithin(limit time.Duration, check func() string) {
	w.Helper()
	var last string
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if last = check(); last == "" {
			return
		}
	}
	w.Fatal(last)
}

// requests returns all pages of a list of requests.
func (o *operated) requests(ask *operatorv1.ListRequestsRequest) (all []*operatorv1.RequestRow, err error) {
	for {
		page, err := o.api.ListRequests(o.Context(), ask)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Requests...)
		if ask.PageToken = page.NextPageToken; ask.PageToken == "" {
			return all, nil
		}
	}
}

// found waits until a text finds exactly one request in a state, and returns it.
func (o *operated) found(text, state string) (row *operatorv1.RequestRow) {
	o.Helper()
	o.eventually(func() string {
		all, err := o.requests(&operatorv1.ListRequestsRequest{Text: text})
		switch {
		case err != nil:
			return err.Error()
		case len(all) != 1 || all[0].State != state:
			return fmt.Sprintf("%q finds %v, want one request that is %s", text, all, state)
		}
		row = all[0]
		return ""
	})
	return row
}

// An operator who knows only a vendor's name finds why its export failed, and replays it once the cause has gone.
func TestConsoleFindsAndReplaysAFailedExport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{deadline: 2 * time.Second})
	down := w.down()
	l := w.run()
	o := l.console()
	down.Store(true)
	failed := w.pressIn(firstCompany, "create_vendor", w.vendor(4711, "Alpha Concrete"))
	w.wait(failed)

	row := o.found("alpha", "attention")
	if row.RequestId != failed || row.DeadLetter == 0 || row.Reason == "" {
		t.Errorf("found %v, want request %d with its reason", row, failed)
	}
	got, err := o.api.GetRequest(t.Context(), &operatorv1.GetRequestRequest{RequestId: failed})
	if err != nil || len(got.Timeline.Steps) < 3 || got.Timeline.Verdict == "" {
		t.Fatalf("its timeline is %v (%v)", got, err)
	}
	letters, err := o.api.ListDeadLetters(t.Context(), &operatorv1.ListDeadLettersRequest{})
	if err != nil || letters.Total == 0 { // the worker and its deadline may both give up
		t.Fatalf("dead letters: %v (%v)", letters, err)
	}
	id := letters.DeadLetters[0].Id
	preview, err := o.api.PreviewReplay(t.Context(), &operatorv1.PreviewReplayRequest{Ids: []uint64{id}})
	if err != nil || len(preview.Previews) != 1 || !preview.Previews[0].Replayable {
		t.Fatalf("preview: %v (%v)", preview, err)
	}
	down.Store(false)
	replayed, err := o.api.Replay(t.Context(), &operatorv1.ReplayRequest{Ids: []uint64{id}, Wait: true})
	if err != nil || len(replayed.Results) != 1 || !replayed.Results[0].Closed {
		t.Fatalf("replayed: %v (%v)", replayed, err)
	}
	if got := replayed.Results[0].Resolution.Who; !strings.HasPrefix(got, "command line on ") {
		t.Errorf("it was replayed by %q", got)
	}
	if letters.Total == 1 {
		o.found("alpha", "succeeded")
	}
}

// Every page answers, and the one-time link signs in once.
func TestConsolePagesAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.run()
	o := l.console()
	id := w.pressIn(firstCompany, "create_vendor", w.vendor(4712, "Beta & Sons <Ltd>"))
	w.succeeded(id)
	o.found("beta", "succeeded")
	jar, err := cookiejar.New(nil)
	w.must(err)
	browser := &http.Client{Jar: jar}
	get := func(c *http.Client, url string) (int, string) {
		t.Helper()
		r, err := c.Get(url)
		w.must(err)
		defer func() { _ = r.Body.Close() }()
		raw, err := io.ReadAll(r.Body)
		w.must(err)
		return r.StatusCode, string(raw)
	}
	if code, page := get(browser, o.link); code != http.StatusOK || !strings.Contains(page, "Nothing needs attention") {
		t.Fatalf("the link answers %d:\n%s", code, page)
	}
	other, err := cookiejar.New(nil)
	w.must(err)
	if code, _ := get(&http.Client{Jar: other}, o.link); code == http.StatusOK {
		t.Error("the link signs in twice")
	}
	for path, want := range map[string]string{
		"/requests": "Beta &amp; Sons", "/requests.csv": "Beta & Sons", fmt.Sprintf("/requests/%d/%d", firstCompany, id): "Fetched from Procore",
		"/dead": "dead letter", "/companies": fmt.Sprint(firstCompany), fmt.Sprintf("/companies/%d", firstCompany): "Pause", fmt.Sprintf("/companies/%d/links", firstCompany): "vendor",
		"/audit": "Audit", fmt.Sprintf("/audit?company=%d&since=%s", firstCompany, time.Now().UTC().Add(-time.Hour).Format("2006-01-02T15:04")): "accounted for",
	} {
		if code, page := get(browser, o.url+path); code != http.StatusOK || !strings.Contains(page, want) {
			t.Errorf("%s answers %d without %q:\n%.2000s", path, code, want, page)
		}
	}
}

// The API makes doctor's checks with the connections of the running process. A caller of one company sees that company's findings,
// and no secret is among them.
func TestConsoleMakesDoctorsChecks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.run()
	handlers := api.New(l.App, api.Options{})
	owner := access.With(t.Context(), access.Owner("test"))
	has := func(findings []*operatorv1.Finding, check, level string, company int64) bool {
		return slices.ContainsFunc(findings, func(f *operatorv1.Finding) bool {
			return f.Check == check && f.Level == level && f.CompanyId == company
		})
	}
	w.eventually(func() string {
		r, err := handlers.Check(owner, &operatorv1.CheckRequest{})
		if err != nil {
			return err.Error()
		}
		for _, check := range []string{"broker", "streams", "consumers", "losses"} {
			if !has(r.Findings, check, "ok", 0) {
				return fmt.Sprintf("%s is not ok in %v", check, r.Findings)
			}
		}
		if !has(r.Findings, "connector", "ok", firstCompany) || !has(r.Findings, "procore", "ok", firstCompany) || !has(r.Findings, "sweep", "ok", firstCompany) {
			return fmt.Sprintf("the company is not well in %v", r.Findings)
		}
		return ""
	})
	one := access.NewCaller("one", access.Grant{Role: access.Viewer, Companies: []int64{firstCompany}})
	r, err := handlers.Check(access.With(t.Context(), one), &operatorv1.CheckRequest{})
	if err != nil || len(r.Findings) == 0 || slices.ContainsFunc(r.Findings, func(f *operatorv1.Finding) bool { return f.CompanyId != firstCompany }) {
		t.Errorf("a caller of company %d gets %v (%v)", int64(firstCompany), r, err)
	}
	if text := r.String(); strings.Contains(text, w.token) {
		t.Errorf("the findings have the webhook token: %s", text)
	}
	if _, err := handlers.Check(access.With(t.Context(), one), &operatorv1.CheckRequest{CompanyIds: []int64{firstCompany + 1}}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("another company: %v", err)
	}
	w.must(os.WriteFile(l.Settings.Companies, []byte("companies: [{id: 7}]"), 0o600))
	if r, err := handlers.Check(owner, &operatorv1.CheckRequest{}); err != nil || !has(r.Findings, "companies file", "problem", 0) {
		t.Errorf("a mistake that was made since the start is not among %v (%v)", r, err)
	}
}

// The examples of docs/api.md print the request whose export failed. services/connectors/typescript/verify sets TSC.
func TestExamplesOfTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{deadline: 2 * time.Second})
	down := w.down()
	l := w.run()
	const token = "token-of-the-example-0123456789"
	file := filepath.Join(t.TempDir(), "access.yaml")
	w.must(os.WriteFile(file, fmt.Appendf(nil, "tokens: [{name: example, token_sha256: [%x], role: viewer, companies: all}]", sha256.Sum256([]byte(token))), 0o600))
	l.Settings.ConsoleAccess = file
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- console.Run(ctx, l.App, console.Options{Listener: listener}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the console ended with: %v", err)
		}
	})
	down.Store(true)
	failed := w.pressIn(firstCompany, "create_vendor", w.vendor(4713, "Gamma"))
	w.wait(failed)

	const examples = "../../../proto/tools/apidoc/example/"
	commands := map[string][]string{"curl": {"bash", examples + "call.sh"}, "Go": {"go", "run", examples + "main.go"}}
	if tsc := os.Getenv("TSC"); tsc != "" {
		out := t.TempDir()
		types := filepath.Join(filepath.Dir(tsc), "..", "@types")
		compile := exec.CommandContext(t.Context(), tsc, "--strict", "--target", "ES2022", "--module", "ES2022", "--moduleResolution", "bundler", "--typeRoots", types, "--types", "node", "--outDir", out, examples+"call.ts")
		if said, err := compile.CombinedOutput(); err != nil {
			t.Fatalf("tsc: %v: %s", err, said)
		}
		w.must(os.WriteFile(filepath.Join(out, "package.json"), []byte(`{"type": "module"}`), 0o600))
		commands["TypeScript"] = []string{"node", filepath.Join(out, "call.js")}
	}
	for name, command := range commands {
		run := func(token string) (string, error) {
			c := exec.CommandContext(t.Context(), command[0], command[1:]...)
			c.Env = append(os.Environ(), "TIEBACK_URL=http://"+listener.Addr().String(), "TIEBACK_TOKEN="+token)
			said, err := c.CombinedOutput()
			return string(said), err
		}
		w.eventually(func() string {
			if said, err := run(token); err != nil || !strings.Contains(said, fmt.Sprint(failed)) {
				return fmt.Sprintf("%s: %v: %s", name, err, said)
			}
			return ""
		})
		if said, err := run("another"); err == nil {
			t.Errorf("%s with another token: %s", name, said)
		}
	}
}
