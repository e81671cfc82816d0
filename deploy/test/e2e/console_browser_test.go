package endtoend

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// tab is a page of Chromium on the console.
type tab struct {
	*operated
	ctx context.Context
}

// browser starts Chromium with one page.
func (o *operated) browser() *tab {
	o.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") != "" {
			o.Fatal("Chromium is missing")
		}
		o.Skip("needs Chromium: install it to run this test")
	}
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.Headless, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoSandbox, chromedp.Flag("disable-background-networking", true), chromedp.WindowSize(1200, 900)}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	o.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	o.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		o.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(ctx, 3*patience)
	o.Cleanup(cancel)
	return &tab{o, ctx}
}

// do performs actions, and fails with the page if one of them fails.
func (p *tab) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		page, _ := chromedp.Run(p.ctx, chromedp.OuterHTML(chromedp.CSS("body")))
		p.Fatalf("%s: %v\n%.3000s", what, err, page)
	}
}

// open opens a page of the console, and waits for its content.
func (p *tab) open(path string) {
	p.Helper()
	p.eventually(func() string { // the load of the page before may still be under way, and abort this one
		if _, err := chromedp.Run(p.ctx, chromedp.Navigate(p.url+path)); err != nil && strings.Contains(err.Error(), "ERR_ABORTED") {
			return err.Error()
		} else if err != nil {
			p.Fatalf("open %s: %v", path, err)
		}
		return ""
	})
	p.do("open "+path, chromedp.WaitVisible(chromedp.CSS("main")))
}

// press clicks on what a selector finds, and waits until the next page shows a text.
func (p *tab) press(selector, want string) {
	p.Helper()
	p.do("click "+selector, chromedp.Click(chromedp.CSS(selector)))
	p.shows(want)
}

// shows waits until the page shows a text.
func (p *tab) shows(want string) {
	p.Helper()
	p.eventually(func() string {
		got, err := chromedp.Run(p.ctx, chromedp.Text(chromedp.CSS("main")))
		if err != nil || !strings.Contains(got, want) {
			return fmt.Sprintf("the page does not show %q: %v\n%s", want, err, got)
		}
		return ""
	})
}

func (p *tab) text(selector string) string {
	p.Helper()
	got, err := chromedp.Run(p.ctx, chromedp.Text(chromedp.CSS(selector)))
	p.must(err)
	return got
}

// screenshot writes a picture of the page into the folder TIEBACK_TEST_SCREENSHOTS, if it is set. People look at the pictures.
func (p *tab) screenshot(name string) {
	p.Helper()
	dir := os.Getenv("TIEBACK_TEST_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	p.must(err)
	p.must(os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600))
}

// signIn signs in with a token, and waits for the first page.
func (p *tab) signIn(token string) {
	p.Helper()
	p.open("/sign-in")
	p.do("sign in", chromedp.SetValue(chromedp.CSS("#token"), token), chromedp.Submit(chromedp.CSS("#token")), chromedp.WaitVisible(chromedp.CSS("#status")))
}

// An operator finds and replays a failed export in a browser: the page names what fails, the search finds the request, and the
// buttons replay it.
func TestConsoleInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{deadline: 2 * time.Second})
	down := w.down()
	o := w.run().console()
	p := o.browser()

	down.Store(true)
	p.do("sign in", chromedp.Navigate(o.link), chromedp.WaitVisible(chromedp.CSS("#status")))
	w.wait(w.pressIn(firstCompany, "create_vendor", w.vendor(4713, "Alpha Concrete")))
	p.shows("dead letter") // htmx refreshes the page every 5 s
	p.do("find", chromedp.SetValue(chromedp.CSS("#find"), "alpha"), chromedp.Submit(chromedp.CSS("#find")), chromedp.WaitVisible(chromedp.CSS("#results")))
	if got := p.text("#results"); !strings.Contains(got, "Alpha Concrete") {
		t.Fatalf("the search shows %q", got)
	}
	p.press("#results .tr a", "What happened")

	down.Store(false)
	p.open("/dead")
	p.do("choose", chromedp.Click(chromedp.CSS(`.table.dead input[name=id]`)))
	p.press(".bulk button:first-child", "What a replay does")
	p.press(`form[action="/dead/replay"] button.primary`, "replayed")
	o.found("alpha", "succeeded")
	p.open("/")
	p.shows("Nothing needs attention")
}

const (
	operatorToken = "operator-token-0123456789abcdef"
	viewerToken   = "viewer-token-0123456789abcdefgh"
)

// accessFile lets an operator of all companies and a viewer of the first one sign in with tokens.
func (w *world) accessFile() string {
	hash := func(token string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(token))) }
	path := filepath.Join(w.TempDir(), "access.yaml")
	w.must(os.WriteFile(path, fmt.Appendf(nil, `tokens:
  - {name: ann, token_sha256: [%s], role: operator, companies: all, payloads: true}
  - {name: vic, token_sha256: [%s], role: viewer, companies: [%d]}
`, hash(operatorToken), hash(viewerToken), firstCompany), 0o600))
	return path
}

// Every page can be read at the width of a telephone, a tablet and a large screen, and runs nothing that the
// Content-Security-Policy forbids.
func TestConsolePagesInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{deadline: time.Second, companies: 2})
	down := w.down()
	l := w.run()
	l.Settings.ConsoleAccess = w.accessFile()
	o := l.console()
	w.wait(w.pressIn(firstCompany, "create_vendor", w.vendor(4714, "Alpha Concrete and Sons of the Northern Territories GmbH & Co. KG")))
	down.Store(false)
	id := w.pressIn(firstCompany, "create_vendor", w.vendor(4715, "Beta"))
	w.succeeded(id)
	o.found("beta", "succeeded")
	letters, err := o.api.ListDeadLetters(t.Context(), &operatorv1.ListDeadLettersRequest{})
	w.must(err)
	company, dead := fmt.Sprint("/companies/", firstCompany), fmt.Sprint("/dead/", letters.DeadLetters[0].Id)

	p := o.browser()
	p.signIn(operatorToken)
	p.open(company + "/checks")
	p.open(company + "/links?compare=1")
	p.open(company)
	for _, want := range []string{"checked at", "Compared at", "Many records on one stream", "vendor", "Fairness and quota"} {
		p.shows(want)
	}
	for _, width := range []int64{360, 800, 1600} {
		p.do("resize", chromedp.EmulateViewport(width, 900))
		for name, path := range map[string]string{
			"now": "/", "requests": "/requests", "found": "/requests?text=alpha", "request": fmt.Sprintf("/requests/%d/%d", firstCompany, letters.DeadLetters[0].Request.RequestId),
			"closed": fmt.Sprintf("/requests/%d/%d?payload=1&ask=1", firstCompany, id), "dead": "/dead", "letter": dead + "?payload=1", "edit": dead + "/edit", "replay": "/dead/replay?all=1", "discard": "/dead/discard?all=1",
			"companies": "/companies", "company": company, "pause": company + "/pause", "links": company + "/links", "compared": company + "/links?compare=1", "rebuild": company + "/rebuild", "sweep": company + "/sweep",
			"checks": company + "/checks", "audit": "/audit", "audited": fmt.Sprintf("/audit?company=%d&since=%s", firstCompany, time.Now().UTC().Add(-time.Hour).Format("2006-01-02T15:04")), "missing": "/nowhere",
		} {
			p.open(path)
			p.screenshot(fmt.Sprintf("%s-%d", name, width))
			got, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](`JSON.stringify({wide: document.documentElement.scrollWidth > innerWidth, headings: document.querySelectorAll("h1").length, small: [...document.querySelectorAll("a,button,input,select")].filter(e => e.offsetParent && !e.textContent.trim() && !e.labels?.length && !e.getAttribute("aria-label") && e.type != "hidden").map(e => e.outerHTML)})`))
			w.must(err)
			var is struct {
				Wide     bool
				Headings int
				Small    []string
			}
			w.must(json.Unmarshal([]byte(got), &is))
			if is.Wide || is.Headings != 1 || len(is.Small) > 0 {
				t.Errorf("%s at %d px: it scrolls sideways: %v; it has %d headings; controls without a name: %v", path, width, is.Wide, is.Headings, is.Small)
			}
		}
	}
}

// An operator does everything that the pages offer. A viewer can't; neither can a page of another site, nor a browser whose
// session has ended.
func TestConsoleActionsInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{deadline: time.Second, companies: 2})
	down := w.down()
	l := w.run()
	l.Settings.ConsoleAccess = w.accessFile()
	o := l.console()
	for i, name := range []string{"Alpha", "Beta"} {
		w.wait(w.pressIn(firstCompany, "create_vendor", w.vendor(4720+int64(i), name)))
		o.found(strings.ToLower(name), "attention")
	}
	down.Store(false)
	company := fmt.Sprint("/companies/", firstCompany)

	p := o.browser()
	p.open(company + "/pause")
	p.do("signed out", chromedp.WaitVisible(chromedp.CSS("#token")))
	p.do("sign in", chromedp.SetValue(chromedp.CSS("#token"), operatorToken), chromedp.Submit(chromedp.CSS("#token")), chromedp.WaitVisible(chromedp.CSS("#reason"))) // it returns to the page
	p.do("pause", chromedp.SetValue(chromedp.CSS("#reason"), "month end"))
	p.press("form button.primary", "The company is paused")
	p.open("/")
	p.shows("paused")
	p.open(company)
	p.shows("month end")
	p.press(".actions a.primary", "What waits is processed")
	p.press("form button.primary", "The company is resumed")
	for action, want := range map[string]string{"sweep": "The sweep found", "rebuild": "stored"} {
		p.open(company + "/" + action)
		p.press("form button.primary", want)
	}
	p.open(company + "/links?compare=1")
	p.shows("In Procore")
	p.open("/audit?company=" + fmt.Sprint(firstCompany))
	p.press("form.filter button.primary", "accounted for")

	letters, err := o.api.ListDeadLetters(t.Context(), &operatorv1.ListDeadLettersRequest{})
	w.must(err)
	edited, discarded := letters.DeadLetters[0].Id, letters.DeadLetters[len(letters.DeadLetters)-1].Id
	p.open(fmt.Sprintf("/dead/%d/edit", edited))
	message, err := chromedp.Run(p.ctx, chromedp.Value(chromedp.CSS("#message")))
	w.must(err)
	p.press("form button.primary", "unchanged")
	p.do("edit", chromedp.SetValue(chromedp.CSS("#message"), strings.NewReplacer("Alpha", "Gamma", "Beta", "Gamma").Replace(message)))
	p.press("form button.primary", "What you changed")
	if got := p.text(".diff"); !strings.Contains(got, "Gamma") {
		t.Errorf("the difference is %q", got)
	}
	p.press("form button.primary", "replayed")
	p.open(fmt.Sprintf("/dead/discard?id=%d", discarded))
	p.do("reason", chromedp.SetValue(chromedp.CSS("#reason"), "entered by hand"))
	p.press("form button.primary", "discarded")
	p.open(fmt.Sprintf("/dead/%d", discarded))
	p.shows("entered by hand")
	p.shows("ann")

	paused := func() bool {
		r, err := o.api.ListCompanies(t.Context(), &operatorv1.ListCompaniesRequest{})
		w.must(err)
		for _, c := range r.Companies {
			if len(c.Paused) > 0 {
				return true
			}
		}
		return false
	}
	forged := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `<!doctype html><form method="post" action="%s"><input name="reason" value="forged"><button>Win a prize</button></form>`, html.EscapeString(o.url+company+"/pause"))
	}))
	t.Cleanup(forged.Close)
	p.do("forge", chromedp.Navigate(forged.URL), chromedp.Click(chromedp.CSS("button")))
	p.shows("another site")
	if paused() {
		t.Error("a page of another site paused the company")
	}

	p.open("/")
	p.do("sign out", chromedp.Click(chromedp.CSS(".who button")), chromedp.WaitVisible(chromedp.CSS("#token")))
	p.open(company)
	p.do("signed out", chromedp.WaitVisible(chromedp.CSS("#token")))

	p.signIn(viewerToken)
	p.open("/dead")
	p.open(company)
	if got := p.text("main"); strings.Contains(got, "Pause") || strings.Contains(got, "Sweep now") {
		t.Errorf("a viewer is offered %q", got)
	}
	p.open(company + "/pause")
	p.shows("Your role is viewer")
	p.open(fmt.Sprint("/companies/", firstCompany+1))
	p.shows("may not see it")
	post := fmt.Sprintf(`fetch(%q, {method: "POST", body: new URLSearchParams({reason: "by hand"})}).then(r => r.status)`, company+"/pause")
	status, err := chromedp.Run(p.ctx, chromedp.Evaluate[int](post, chromedp.EvalAwaitPromise))
	w.must(err)
	if status != http.StatusForbidden || paused() {
		t.Errorf("the post of a viewer is answered %d; the company is paused: %v", status, paused())
	}
}
