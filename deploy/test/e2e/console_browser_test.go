package endtoend

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// browser starts Chromium with one page.
func (w *world) browser() context.Context {
	w.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") != "" {
			w.Fatal("Chromium is missing")
		}
		w.Skip("needs Chromium: install it to run this test")
	}
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.Headless, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoSandbox, chromedp.Flag("disable-background-networking", true), chromedp.WindowSize(1200, 900)}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	w.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	w.Cleanup(cancel)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		w.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(ctx, 2*patience)
	w.Cleanup(cancel)
	return ctx
}

// The operator of the test before does the same in a browser: the page names what fails, the search finds the request,
// and the buttons replay it.
func TestConsoleInABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{deadline: 2 * time.Second})
	down := w.down()
	l := w.run()
	o := l.console()
	page := w.browser()
	do := func(what string, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(page, actions...); err != nil {
			html, _ := chromedp.Run(page, chromedp.OuterHTML(chromedp.CSS("body")))
			t.Fatalf("%s: %v\n%.3000s", what, err, html)
		}
	}
	screenshot := func(name string) { // looked at by people: see TIEBACK_TEST_SCREENSHOTS
		t.Helper()
		dir := os.Getenv("TIEBACK_TEST_SCREENSHOTS")
		if dir == "" {
			return
		}
		png, err := chromedp.Run(page, chromedp.FullScreenshot(100))
		w.must(err)
		w.must(os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600))
	}
	text := func(selector chromedp.CSS) string {
		t.Helper()
		got, err := chromedp.Run(page, chromedp.Text(selector))
		w.must(err)
		return got
	}

	down.Store(true)
	do("sign in", chromedp.Navigate(o.link), chromedp.WaitVisible(chromedp.CSS("#status")))
	failed := w.pressIn(firstCompany, "create_vendor", w.vendor(4713, "Alpha Concrete"))
	w.wait(failed)
	w.eventually(func() string { // htmx refreshes the page every 5 s
		if got := text("main"); !strings.Contains(got, "dead letter") {
			return "the page does not name the dead letter: " + got
		}
		return ""
	})
	screenshot("now")
	do("find", chromedp.SetValue(chromedp.CSS("#find"), "alpha"), chromedp.Submit(chromedp.CSS("#find")), chromedp.WaitVisible(chromedp.CSS("#results")))
	if got := text("#results"); !strings.Contains(got, "Alpha Concrete") {
		t.Fatalf("the search shows %q", got)
	}
	screenshot("requests")
	do("open", chromedp.Click(chromedp.CSS(`#results .tr a`)), chromedp.WaitVisible(chromedp.CSS(".steps")))
	screenshot("request")

	down.Store(false)
	do("dead letters", chromedp.Navigate(o.url+"/dead"), chromedp.WaitVisible(chromedp.CSS(".table.dead")))
	screenshot("dead")
	do("choose", chromedp.Click(chromedp.CSS(`.table.dead input[name=id]`)), chromedp.Click(chromedp.CSS(`.bulk button:first-child`)), chromedp.WaitVisible(chromedp.CSS(`form[action="/dead/replay"] button.primary`)))
	screenshot("replay")
	do("replay", chromedp.Click(chromedp.CSS(`form[action="/dead/replay"] button.primary`)), chromedp.WaitVisible(chromedp.CSS("h1")))
	o.found("alpha", "succeeded")
	do("now", chromedp.Navigate(o.url+"/"), chromedp.WaitVisible(chromedp.CSS("#status")))
	w.eventually(func() string {
		if got := text("#status"); got != "Nothing needs attention" {
			return got
		}
		return ""
	})
	screenshot("healthy")
}
