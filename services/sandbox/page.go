package sandbox

import (
	"cmp"
	_ "embed"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/catalogue"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// pageData is what the sandbox's page shows.
type pageData struct {
	Companies []*Company // by id
	Chosen    int64
	Types     []catalogue.EventType
	Type      string
	Recipes   []recipe
	Requests  []Request // the newest first
	Faults    []FaultRule
	Calls     int64
	Error     string
}

// shownRequests is the number of requests on the page.
const shownRequests = 20

// page registers the page: buttons to press, faults to switch on, and the newest requests. Its forms can't be sent from the page
// of another site.
func (sb *Sandbox) page(mux *http.ServeMux) {
	protection := http.NewCrossOriginProtection()
	post := func(path string, do func(r *http.Request, company int64) error) {
		mux.Handle("POST "+path, protection.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			to := url.Values{"company": {r.FormValue("company")}, "type": {r.FormValue("type")}}
			if err := do(r, parseDigits(r.FormValue("company"))); err != nil {
				to.Set("error", err.Error())
			}
			http.Redirect(w, r, "/sandbox/?"+to.Encode(), http.StatusSeeOther)
		})))
	}
	mux.HandleFunc("GET /sandbox/{$}", sb.showPage)
	post("/sandbox/page/press", func(r *http.Request, company int64) error {
		payload, err := sb.Sample(company, r.FormValue("type"), nil)
		if err != nil {
			return err
		}
		if name := strings.TrimSpace(r.FormValue("name")); name != "" {
			Set(payload, "request_data.vendor.name", name)
			Set(payload, "request_data.vendor.company", name)
		}
		_, err = sb.Press(company, r.FormValue("type"), payload)
		return err
	})
	post("/sandbox/page/recipe", func(r *http.Request, company int64) error {
		_, err := sb.Follow(company, r.FormValue("recipe"))
		return err
	})
	post("/sandbox/page/heal", func(*http.Request, int64) error { sb.Heal(); return nil })
}

func (sb *Sandbox) showPage(w http.ResponseWriter, r *http.Request) {
	d := pageData{
		Chosen: parseDigits(r.FormValue("company")), Types: catalogue.Table, Type: cmp.Or(r.FormValue("type"), "create_vendor"), Recipes: recipes,
		Requests: sb.newest(shownRequests), Faults: sb.faultRules(), Calls: sb.TotalCalls(), Error: r.FormValue("error"),
	}
	sb.mu.RLock()
	for _, co := range sb.companies {
		d.Companies = append(d.Companies, &co.Company)
	}
	sb.mu.RUnlock()
	slices.SortFunc(d.Companies, func(a, b *Company) int { return cmp.Compare(a.ID, b.ID) })
	if d.Chosen == 0 && len(d.Companies) > 0 {
		d.Chosen = d.Companies[0].ID
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'")
	_ = pageTemplate.Execute(w, d) // fails if the caller is gone
}

// newest returns the newest n requests.
func (sb *Sandbox) newest(n int) []Request {
	sb.mu.RLock()
	all := make([]*request, 0, len(sb.requests))
	for _, r := range sb.requests {
		all = append(all, r)
	}
	sb.mu.RUnlock()
	slices.SortFunc(all, func(a, b *request) int { return cmp.Or(b.clicked.Compare(a.clicked), cmp.Compare(b.id, a.id)) })
	var newest []Request
	for _, r := range all[:min(n, len(all))] {
		one, _ := sb.Request(r.id)
		newest = append(newest, one)
	}
	return newest
}
