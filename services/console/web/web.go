// Package web is the console's pages: server-rendered templates over the operator API. They are readable without
// JavaScript; htmx only refreshes parts of them.
//
// The pages call the API's handlers in the same process, with the caller that package access puts into the context. The
// handlers decide what the caller may see and do; the pages hide what would be refused.
package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/proto/tieback/operator/v1/operatorv1connect"
	"github.com/tieback/tieback/services/console/access"
)

// API is the handlers of the operator API. All are required.
type API struct {
	Overview       operatorv1connect.OverviewServiceHandler
	Requests       operatorv1connect.RequestServiceHandler
	DeadLetters    operatorv1connect.DeadLetterServiceHandler
	Companies      operatorv1connect.CompanyServiceHandler
	Reconciliation operatorv1connect.ReconciliationServiceHandler
}

//go:embed templates/*.html
var templates embed.FS

// site is the pages.
type site struct {
	api     API
	log     *zap.Logger
	pages   map[string]*template.Template
	notices notices
	names   names
	parts   parts
	now     func() time.Time
}

// New returns the pages. Serve them behind an access.Gate: it puts the caller into the context, sets the security headers and
// refuses cross-origin requests.
func New(api API, log *zap.Logger) http.Handler { return newSite(api, log).handler() }

func newSite(api API, log *zap.Logger) *site {
	s := &site{api: api, log: log, pages: map[string]*template.Template{}, now: time.Now}
	for _, name := range []string{"now", "requests", "request", "try", "dead", "letter", "edit", "replay", "discard", "companies", "company", "confirm", "checks", "links", "audit", "error", "shared"} {
		s.pages[name] = template.Must(template.New("base.html").Funcs(funcs).ParseFS(templates, "templates/base.html", "templates/parts.html", "templates/"+name+".html"))
	}
	return s
}

func (s *site) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /static/", static())
	for pattern, f := range map[string]func(*call) error{
		"GET /{$}":                           s.showNow,
		"GET /requests":                      s.listRequests,
		"GET /requests.csv":                  s.exportRequests,
		"GET /requests/{company}/{id}":       s.showRequest,
		"GET /requests/{company}/{id}/try":   s.confirmTry,
		"POST /requests/{company}/{id}/try":  s.try,
		"GET /dead":                          s.listDead,
		"GET /dead/{id}":                     s.showDead,
		"GET /dead/{id}/edit":                s.editDead,
		"POST /dead/{id}/edit":               s.previewEdit,
		"POST /dead/{id}/edit/replay":        s.replayEdited,
		"GET /dead/replay":                   s.previewReplay,
		"POST /dead/replay":                  s.replay,
		"GET /dead/discard":                  s.confirmDiscard,
		"POST /dead/discard":                 s.discard,
		"GET /companies":                     s.listCompanies,
		"GET /companies/{company}":           s.showCompany,
		"GET /companies/{company}/checks":    s.checkCompany,
		"GET /companies/{company}/links":     s.listLinks,
		"GET /companies/{company}/{action}":  s.confirmAction,
		"POST /companies/{company}/{action}": s.act,
		"GET /audit":                         s.audit,
		"GET /":                              func(*call) error { return connect.NewError(connect.CodeNotFound, errors.New("there is no such page")) },
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, pattern, f) })
	}
	return mux
}

// call is a request for a page, with what all pages need.
type call struct {
	s      *site
	w      http.ResponseWriter
	r      *http.Request
	caller access.Caller
	zone   *time.Location
	form   url.Values
}

const zoneCookie = "tieback-tz"

// maxForm limits a form in memory: an edited message, or 1,000 ids.
const maxForm = 12 << 20

const (
	// pageTimeout bounds the calls of the API for a page.
	pageTimeout = time.Minute
	// longTimeout bounds them for a page that waits for Procore or an ERP. The gate closes the connection after ten minutes.
	longTimeout = 9 * time.Minute
)

// longPages wait for Procore or an ERP. So do pages with the parameters ask and compare.
var longPages = map[string]bool{
	"GET /companies/{company}/checks": true, "POST /companies/{company}/{action}": true, "GET /audit": true,
	"POST /dead/replay": true, "POST /dead/{id}/edit/replay": true,
}

var errTooLong = connect.NewError(connect.CodeDeadlineExceeded, errors.New("the console waited for an answer in vain"))

func (s *site) serve(w http.ResponseWriter, r *http.Request, pattern string, f func(*call) error) {
	limit := pageTimeout
	if q := r.URL.Query(); longPages[pattern] || q.Has("ask") || q.Has("compare") {
		limit = longTimeout
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	r = r.WithContext(ctx)
	c := &call{s: s, w: w, r: r, caller: access.From(r.Context()), zone: time.UTC}
	c.setZone()
	err := error(nil)
	if r.Method == http.MethodPost {
		if err = r.ParseMultipartForm(maxForm); errors.Is(err, http.ErrNotMultipart) {
			err = nil
		}
		if err != nil {
			err = connect.NewError(connect.CodeInvalidArgument, errors.New("the form is incomplete or too large"))
		} else if !c.caller.MayAny(access.Act) {
			err = connect.NewError(connect.CodePermissionDenied, errors.New("your role is viewer: an operator can do this"))
		}
	} else {
		err = r.ParseForm()
		if err != nil {
			err = connect.NewError(connect.CodeInvalidArgument, errors.New("the address is malformed"))
		}
	}
	c.form = r.Form
	if err == nil {
		err = f(c)
	}
	if r.Method == http.MethodPost {
		s.parts.forget()
	}
	if err != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded)) {
		s.log.Warn("a page took too long", zap.String("path", r.URL.Path), zap.Error(err))
		err = errTooLong
	}
	if err != nil {
		c.fail(err)
	}
}

// setZone takes the time zone from ?tz=, which is kept in a cookie, or from the cookie. An unknown zone is UTC.
func (c *call) setZone() {
	name := c.r.URL.Query().Get("tz")
	if name == "" {
		if k, err := c.r.Cookie(zoneCookie); err == nil {
			name, _ = url.QueryUnescape(k.Value)
		}
	}
	if name == "" || name == "Local" || len(name) > 64 {
		return
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return
	}
	c.zone = zone
	if c.r.URL.Query().Has("tz") {
		http.SetCookie(c.w, &http.Cookie{Name: zoneCookie, Value: url.QueryEscape(name), Path: "/", MaxAge: 365 * 24 * 3600, HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: c.r.TLS != nil})
	}
}

// view is what a template gets.
type view struct {
	Title   string
	Section string // of the navigation
	Name    string // of the caller
	CanAct  bool   // for some company
	Zone    string
	Path    string
	Query   url.Values // of the page, without the time zone and the notice
	Notice  *notice
	Text    string // of the search box
	D       any

	caller access.Caller
	zone   *time.Location
	at     time.Time
}

// May reports whether the caller may act for a company.
func (v *view) May(company int64) bool { return v.caller.May(access.Act, company) }

// MaySeePayload reports whether the caller may see a company's payloads.
func (v *view) MaySeePayload(company int64) bool { return v.caller.May(access.SeePayload, company) }

// render answers with a page.
func (c *call) render(status int, name, section, title string, d any) error {
	q := url.Values{}
	for key, values := range c.r.URL.Query() {
		if key != "tz" && key != "done" {
			q[key] = values
		}
	}
	v := &view{
		Title: title, Section: section, Name: c.caller.Name, CanAct: c.caller.MayAny(access.Act), Zone: c.zone.String(), Path: c.r.URL.Path, Query: q, D: d,
		Notice: c.s.notices.get(c.s.now(), c.caller.Name, c.r.URL.Query().Get("done")), caller: c.caller, zone: c.zone, at: c.s.now(),
	}
	if section == "requests" {
		v.Text = q.Get("text")
	}
	if c.r.Method == http.MethodPost {
		v.Path = "/"
	}
	var out bytes.Buffer
	if err := c.s.pages[name].Execute(&out, v); err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Add("Vary", "Accept-Encoding")
	if !acceptsGzip(c.r) {
		h.Set("Content-Length", strconv.Itoa(out.Len()))
		c.w.WriteHeader(status)
		_, _ = out.WriteTo(c.w)
		return nil
	}
	h.Set("Content-Encoding", "gzip")
	c.w.WriteHeader(status)
	z := zippers.Get().(*gzip.Writer)
	defer zippers.Put(z)
	z.Reset(c.w)
	_, _ = out.WriteTo(z) // on error, the client has gone
	_ = z.Close()
	return nil
}

var zippers = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

func acceptsGzip(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
}

// statuses are the HTTP statuses of the API's errors, and what they mean for a person.
var statuses = map[connect.Code]struct {
	status int
	title  string
}{
	connect.CodeNotFound:           {http.StatusNotFound, "Not found"},
	connect.CodeInvalidArgument:    {http.StatusBadRequest, "That is not possible"},
	connect.CodeOutOfRange:         {http.StatusBadRequest, "That is not possible"},
	connect.CodePermissionDenied:   {http.StatusForbidden, "You may not do this"},
	connect.CodeUnauthenticated:    {http.StatusUnauthorized, "Sign in"},
	connect.CodeFailedPrecondition: {http.StatusConflict, "That is not possible now"},
	connect.CodeAlreadyExists:      {http.StatusConflict, "That is not possible now"},
	connect.CodeAborted:            {http.StatusConflict, "That is not possible now"},
	connect.CodeResourceExhausted:  {http.StatusTooManyRequests, "Too many requests"},
	connect.CodeUnavailable:        {http.StatusServiceUnavailable, "Not available now"},
	connect.CodeDeadlineExceeded:   {http.StatusGatewayTimeout, "It took too long"},
	connect.CodeCanceled:           {http.StatusGatewayTimeout, "It took too long"},
	connect.CodeUnimplemented:      {http.StatusNotImplemented, "Not available"},
}

type failure struct{ Text, Hint string }

// fail answers with the page of an error. The text of an unexpected error is only in the log.
func (c *call) fail(err error) {
	if errors.Is(c.r.Context().Err(), context.Canceled) {
		return // the browser has left
	}
	is, known := statuses[connect.CodeOf(err)]
	d := failure{}
	var of *connect.Error
	if errors.As(err, &of) {
		d.Text = sentence(visible(of.Message()))
	}
	if !known {
		is.status, is.title = http.StatusInternalServerError, "The page could not be made"
		d = failure{Text: "The log of the console has the reason.", Hint: "Load the page again. If it happens again, report it with the time."}
		c.s.log.Error("page failed", zap.String("path", c.r.URL.Path), zap.Error(err))
	}
	if is.status == http.StatusServiceUnavailable {
		d.Hint = "What waits in the queues is kept. Load the page again in a minute."
	}
	if c.r.Method == http.MethodPost && is.status >= 500 {
		d.Hint = "It is not known whether it was done. Look at the page of the request or company before you do it again."
	}
	if err := c.render(is.status, "error", "", is.title, d); err != nil {
		c.s.log.Error("page failed", zap.String("path", c.r.URL.Path), zap.Error(err))
		http.Error(c.w, is.title, is.status)
	}
}

// see answers a post: it redirects to a page, which shows the notice once more whenever it is loaded again soon.
func (c *call) see(to string, n notice) {
	u, err := url.Parse(to)
	if err != nil {
		u = &url.URL{Path: "/"}
	}
	q := u.Query()
	q.Set("done", c.s.notices.add(c.s.now(), c.caller.Name, n))
	u.RawQuery = q.Encode()
	http.Redirect(c.w, c.r, u.String(), http.StatusSeeOther)
}

// copied returns a copy of an answer of the API in which all texts can be shown: see visible.
func copied[M proto.Message](m M) M {
	m = proto.CloneOf(m)
	cleanMessage(m.ProtoReflect())
	return m
}

// number returns a positive id from the path.
func (c *call) number(name string) (int64, error) {
	id, err := strconv.ParseInt(c.r.PathValue(name), 10, 64)
	if err != nil || id <= 0 {
		return 0, connect.NewError(connect.CodeNotFound, errors.New("there is no such page: "+name+" must be a number"))
	}
	return id, nil
}

// mayAct returns an error if the caller may not act for a company; 0: for none.
func (c *call) mayAct(company int64) error {
	if company == 0 && c.caller.MayAny(access.Act) || company != 0 && c.caller.May(access.Act, company) {
		return nil
	}
	return connect.NewError(connect.CodePermissionDenied, errors.New("your role is viewer: an operator can do this"))
}

func invalid(text string) error {
	return connect.NewError(connect.CodeInvalidArgument, errors.New(text))
}

var errNoPayload = connect.NewError(connect.CodePermissionDenied, errors.New("you may not see what Procore sent, and so not edit it"))
