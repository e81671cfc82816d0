package endtoend

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// When the lifetime of a session has ended, a page leads to the sign-in and back, the refresh of an open page leads there by itself, and
// an action is refused and says that nothing was done.
func TestExpiredSessionInABrowser(t *testing.T) {
	t.Parallel()
	const lifetime = 10 * time.Second
	w := newWorld(t, setup{deadline: time.Second})
	l := w.run()
	l.Settings.ConsoleAccess = w.accessFile()
	access, err := os.ReadFile(l.Settings.ConsoleAccess)
	w.must(err)
	w.must(os.WriteFile(l.Settings.ConsoleAccess, fmt.Appendf(access, "session: %v\n", lifetime), 0o600))
	o := l.console()
	company := fmt.Sprint("/companies/", firstCompany)
	p := o.browser()

	p.signIn(operatorToken)
	ends := time.Now().Add(lifetime)
	p.open(company + "/pause")
	p.do("reason", chromedp.SetValue(chromedp.CSS("#reason"), "after the end"))
	time.Sleep(time.Until(ends))
	p.press("form button.primary", "Your session has ended, and nothing was done")
	all, err := o.api.ListCompanies(t.Context(), &operatorv1.ListCompaniesRequest{})
	w.must(err)
	for _, c := range all.Companies {
		if len(c.Paused) > 0 {
			t.Errorf("company %d was paused after the end of the session", c.Id)
		}
	}

	p.open(company) // a page
	p.do("the sign-in of a page", chromedp.WaitVisible(chromedp.CSS("#token")))
	p.do("sign in", chromedp.SetValue(chromedp.CSS("#token"), operatorToken), chromedp.Submit(chromedp.CSS("#token")), chromedp.WaitVisible(chromedp.CSS("#company")))

	p.do("wait for a refresh after the end", chromedp.WaitVisible(chromedp.CSS("#token"))) // htmx refreshes the page every 5 s
	if address, err := chromedp.Run(p.ctx, chromedp.Location()); err != nil || !strings.Contains(address, "/sign-in?to=%2Fcompanies%2F") {
		t.Errorf("the refresh led to %s (%v)", address, err)
	}
}

// A hidden page is not refreshed. It is when it is shown again.
func TestHiddenPageIsNotRefreshed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{deadline: time.Second})
	o := w.run().console()
	p := o.browser()
	p.do("sign in", chromedp.Navigate(o.link), chromedp.WaitVisible(chromedp.CSS("#status")))
	refreshes := func() int {
		t.Helper()
		n, err := chromedp.Run(p.ctx, chromedp.Evaluate[int](`performance.getEntriesByType("resource").filter(e => e.initiatorType == "xmlhttprequest").length`))
		w.must(err)
		return n
	}
	show := func(hidden bool) {
		t.Helper()
		_, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool](fmt.Sprintf(`(Object.defineProperty(document, "hidden", {configurable: true, get: () => %v}), document.dispatchEvent(new Event("visibilitychange")))`, hidden)))
		w.must(err)
	}
	show(true)
	before := refreshes()
	time.Sleep(12 * time.Second)
	if n := refreshes(); n > before {
		t.Errorf("a hidden page was refreshed %d times", n-before)
	}
	show(false)
	w.eventually(func() string {
		if refreshes() == before {
			return "the page that is shown again is not refreshed"
		}
		return ""
	})
}
