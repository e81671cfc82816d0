// Package procore is a client for Procore's API. It logs in with OAuth client credentials, once for all companies of a client,
// sends the company header, keeps to the rate limits in the response headers, and classifies errors with package fault.
//
// Source: developers.procore.com (ERP Integration, OAuth Client Credentials, Rate Limiting).
package procore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"golang.org/x/oauth2"
	"golang.org/x/sync/semaphore"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/trouble"
)

// Config has Procore's hosts, for clients without their own, and the settings of all calls.
type Config struct {
	APIURL   string            // https://api.procore.com
	LoginURL string            // https://login.procore.com; tokens at /oauth/token
	Routes   map[string]string // path overrides by route name; see Route
	Timeout  time.Duration     // of one call; 0: 30 s

	Transport http.RoundTripper // nil: one that keeps many connections
}

// Client holds a Session for each company.
type Client struct {
	sessions map[int64]*Session
	accounts []*account
}

// account is a client of the companies file, with the hosts, token and limits that its companies share.
type account struct {
	client    *company.Client
	companies []*Session // by id
	cfg       Config     // the hosts are the client's
	log       *zap.Logger
	http      *http.Client
	limiter   *limiter
	store     Store // nil: nothing is published
	login     login
	answers   *semaphore.Weighted // bytes of large answers in memory; of all accounts
}

// Session makes the calls of one company. It does not retry calls, unless it was returned by Retrying. Its methods may be
// called concurrently.
type Session struct {
	*sessionState
	retry Retry
}

// sessionState is the state that all sessions of a company share.
type sessionState struct {
	*account
	company *company.Company
	sizes   sizes    // of the calls of sync actions
	missing sync.Map // names of routes; see MarkMissing
	calls   *prometheus.CounterVec
	refused prometheus.Counter // of our credentials or token
	trouble trouble.Tracker
}

// New returns a client for the companies, and registers its metrics.
func New(cfg Config, companies company.Set, reg prometheus.Registerer) (*Client, error) {
	for name, u := range map[string]string{"TIEBACK_PROCORE_API_URL": cfg.APIURL, "TIEBACK_PROCORE_LOGIN_URL": cfg.LoginURL} {
		if p, err := url.Parse(u); err != nil || p.Host == "" || (p.Scheme != "https" && p.Scheme != "http") {
			return nil, fmt.Errorf("%s: %q is not an http(s) URL", name, u)
		}
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Transport == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConnsPerHost, transport.MaxIdleConns = 256, 1024
		transport.MaxResponseHeaderBytes = maxHeaders
		cfg.Transport = transport
	}
	c := &Client{sessions: make(map[int64]*Session, len(companies))}
	calls := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tieback_procore_calls_total", Help: "Calls made to Procore's API, by company, route and status (error: no answer).",
	}, []string{"company", "route", "status"})
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tieback_procore_unauthorized_total", Help: "How often Procore refused a company's credentials at the login, or a fresh token in a call.",
	}, []string{"company"})
	if err := errors.Join(reg.Register(calls), reg.Register(refused)); err != nil {
		return nil, err
	}
	answers := semaphore.NewWeighted(maxBuffered)
	accounts := map[*company.Client]*account{}
	for _, id := range slices.Sorted(maps.Keys(companies)) {
		co := companies[id]
		a := accounts[co.Client]
		if a == nil {
			a = newAccount(cfg, co)
			a.answers = answers
			accounts[co.Client], c.accounts = a, append(c.accounts, a)
		}
		s := &Session{sessionState: &sessionState{
			account: a, company: co, calls: calls,
			refused: refused.WithLabelValues(strconv.FormatInt(id, 10)), // exported from the start, so that the first refusal is an increase
		}}
		a.companies, c.sessions[id] = append(a.companies, s), s
	}
	return c, reg.Register(gauge{c})
}

// newAccount returns the account of a company's client.
func newAccount(cfg Config, co *company.Company) *account {
	if co.Client.APIURL != "" {
		cfg.APIURL, cfg.LoginURL = co.Client.APIURL, co.Client.LoginURL
	}
	return &account{
		client: co.Client, cfg: cfg, log: zap.NewNop(), limiter: newLimiter(co.Client.Name != ""),
		// Redirects are not followed: a redirected write would become a GET, whose 200 does not mean that the write was made.
		http: &http.Client{Transport: cfg.Transport, Timeout: cfg.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// Publish publishes the rate limits and the refused logins in a store, for other processes to show. It must be called before
// the first call.
func (c *Client) Publish(store Store) {
	for _, a := range c.accounts {
		a.store = store
		a.limiter.changed = (&publisher{account: a, store: store}).changed
	}
}

// storeKey returns the key of the account's limits in the store.
func (a *account) storeKey() string { return StoreKey(a.companies[0].company.ID, a.client.Name) }

// LogTo sets the log, which records when Procore accepts or refuses changed credentials. The default logs nothing. It must be
// called before the first call.
func (c *Client) LogTo(log *zap.Logger) {
	for _, a := range c.accounts {
		a.log = log
	}
}

// Company returns the session of a company. If the company is not in the companies file, the error is transient: it may have
// been added, and this service knows it after a restart.
func (c *Client) Company(id int64) (*Session, error) {
	s, ok := c.sessions[id]
	if !ok {
		return nil, fault.New(fault.Transient, fmt.Errorf("company %d is not in the companies file", id))
	}
	return s, nil
}

// MarkMissing records that Procore does not have a route, so that this process does not call it again for the company:
// Procore counts unnecessary 404s against an app.
func (s *Session) MarkMissing(r Route) { s.missing.Store(r.Name, true) }

// Missing reports whether MarkMissing was called for the route.
func (s *Session) Missing(r Route) bool {
	_, lacks := s.missing.Load(r.Name)
	return lacks
}

// Troubles returns the current troubles of the companies with Procore. silent is how long a call may be in flight without an
// answer.
func (c *Client) Troubles(silent time.Duration) []trouble.Trouble {
	var all []trouble.Trouble
	for id, s := range c.sessions {
		if t, bad := s.trouble.Now(id, fault.FromProcore, time.Now(), silent); bad {
			all = append(all, t)
		}
	}
	return all
}

// Quota returns the rest of the rate limit, or false if it is not known.
func (s *Session) Quota() (Quota, bool) { return s.limiter.left(s.company.ID) }

// Call is one call: its route, the record in the path, the query and the body.
type Call struct {
	Route Route
	ID    int64      // fills {id}
	Hook  int64      // fills {hook_id}
	Query url.Values // may be nil
	Body  any        // marshalled to JSON; nil: none
	items int        // maximum number in the answer to a list or a sync action
}

// Do makes a call and returns the body of the answer. If Procore no longer accepts the token, Do renews it and makes the call
// once more.
//
//	429, 503           throttled, until the limit's reset or Retry-After
//	5xx, no answer     transient; ambiguous for calls that write
//	401 twice          transient: the secret may be in rotation
//	other 4xx          permanent, with Procore's reason as the user message
//	3xx                permanent: redirects are not followed; the error has the target
//
// All errors have the source fault.FromProcore, except those of ctx.
func (s *Session) Do(ctx context.Context, c Call) (body []byte, err error) {
	err = s.repeat(ctx, c.Route, func() error {
		a, err := s.do(ctx, c)
		body = a.body
		return err
	})
	return body, err
}

// tracer makes a span of each call to Procore, including its waits for the rate limit and the token; see pkg/bus/trace.go.
var tracer = otel.Tracer("github.com/tieback/tieback/pkg/procore")

// answer is Procore's response. If it is returned without an error, its status is 2xx.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do is Do, and also returns the headers of the answer, which lists need.
func (s *Session) do(ctx context.Context, c Call) (answer, error) {
	ctx, span := tracer.Start(ctx, "procore "+c.Route.Name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attribute.Int64("tieback.company", s.company.ID)))
	defer span.End()
	ended := s.trouble.Begin(s.company.ID)
	a, err := s.doAuthorized(ctx, c)
	err = fault.Clean(err, s.secrets()...)
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	if err != nil && ctx.Err() == nil {
		err = fault.From(fault.FromProcore, err)
	}
	return a, ended(err)
}

// doAuthorized makes a call, and repeats it with a new token if Procore refused the token.
func (s *Session) doAuthorized(ctx context.Context, c Call) (answer, error) {
	body, err := marshal(c.Body)
	if err != nil {
		return answer{}, fault.New(fault.Permanent, err)
	}
	tok, err := s.accessToken(ctx, nil)
	if err != nil {
		return answer{}, err
	}
	a, err := s.send(ctx, tok, c, body)
	if err == nil && a.status == http.StatusUnauthorized {
		if tok, err = s.accessToken(ctx, tok); err == nil {
			a, err = s.send(ctx, tok, c, body)
		}
		if err == nil && a.status == http.StatusUnauthorized {
			s.refused.Inc()
		}
	}
	if err != nil {
		return answer{}, err
	}
	if a.status >= 200 && a.status < 300 {
		return a, nil
	}
	if a.status >= 300 && a.status < 400 {
		return answer{}, s.redirected(c.Route, a)
	}
	return answer{}, refusal(c.Route, a.status, s.text(reason(a.body)))
}

// text sanitizes a text from Procore, which may echo secrets that calls have sent.
func (a *account) text(s string) string { return fault.Text(s, a.secrets()...) }

// secrets returns the secrets that calls may have sent.
func (a *account) secrets() []string {
	l := &a.login
	now := a.client.Credentials()
	l.mu.Lock()
	defer l.mu.Unlock()
	return []string{l.sent[0], l.sent[1], string(now.Secret), string(l.with.Secret), string(l.tried.Secret)}
}

type countKey struct{}

// Counted returns a context whose calls are counted in n, such as the calls for one event.
func Counted(ctx context.Context, n *atomic.Int32) context.Context {
	return context.WithValue(ctx, countKey{}, n)
}

// marshal marshals a body to JSON. It returns nil if there is none.
func marshal(v any) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	return json.Marshal(v)
}

// send makes the call. It returns a throttled error for a 429 or 503.
func (s *Session) send(ctx context.Context, tok *oauth2.Token, c Call, body []byte) (answer, error) {
	u := s.cfg.APIURL + c.Route.path(s.cfg.Routes, s.company.ID, c)
	req, err := http.NewRequestWithContext(ctx, c.Route.Method, u, bytes.NewReader(body))
	if err != nil {
		return answer{}, fault.New(fault.Permanent, err)
	}
	req.Header.Set("Procore-Company-Id", strconv.FormatInt(s.company.ID, 10))
	tok.SetAuthHeader(req)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	reserved, err := s.limiter.reserve(ctx, s.company.ID)
	if err != nil {
		return answer{}, err
	}
	if n, ok := ctx.Value(countKey{}).(*atomic.Int32); ok {
		n.Add(1)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		s.limiter.recordFailure(reserved)
		s.count(c.Route, "error")
		return answer{}, s.noAnswer(c.Route, err)
	}
	defer resp.Body.Close()
	wait := s.limiter.recordAnswer(reserved, resp.StatusCode, resp.Header)
	s.count(c.Route, strconv.Itoa(resp.StatusCode))
	read, err := s.read(ctx, c, resp)
	if err != nil {
		return answer{}, err
	}
	if wait > 0 {
		return answer{}, fault.Wait(wait, fmt.Errorf("%s: Procore answered %d", c.Route.Name, resp.StatusCode))
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: read}, nil
}

func (s *Session) count(r Route, status string) {
	s.calls.WithLabelValues(strconv.FormatInt(s.company.ID, 10), r.Name, status).Inc()
}

// unsent reports whether a call without an answer has certainly not reached Procore.
func unsent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// mistyped returns the setting of the host, in parentheses, if no connection could be made: the setting may be wrong. Otherwise
// it returns "".
func mistyped(err error, setting string) string {
	if unsent(err) {
		return " (" + setting + ")"
	}
	return ""
}

// setting returns the name of the setting of a host: a field of the companies file, or else the variable.
func (a *account) setting(field, variable string) string {
	if a.client.APIURL != "" {
		return field + " of " + a.client.String()
	}
	return variable
}

// noAnswer returns the error of a call without an answer. It is ambiguous for a write, which may have been made.
func (a *account) noAnswer(r Route, err error) error {
	where := mistyped(err, a.setting("api_url", "TIEBACK_PROCORE_API_URL"))
	sent := !unsent(err)
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the URL
	}
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() && sent {
		err = fmt.Errorf("%w: %w", errTimeout, err)
	}
	class := fault.Ambiguous
	if r.Method == http.MethodGet {
		class = fault.Transient
	}
	return &fault.Error{Class: class, Reason: fault.NoAnswer, Err: fmt.Errorf("%s: no answer from Procore%s: %w", r.Name, where, err)}
}

// errTimeout is wrapped by the error of a call that was sent but not answered within Config.Timeout.
var errTimeout = errors.New("timeout")

// redirected returns the error of a call that Procore redirects. The error has the target without its query, which may contain a
// secret. It does not say that nothing was done: a 303 after a write would mean that the write was made.
func (a *account) redirected(r Route, redirect answer) error {
	to := "nowhere"
	if u, err := url.Parse(redirect.header.Get("Location")); err == nil && (u.Host != "" || u.Path != "") {
		to = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	}
	err := fmt.Errorf("%s: Procore answered %d and points to %s, which is not followed: correct %s, or the route's path", r.Name, redirect.status, to, a.setting("api_url", "TIEBACK_PROCORE_API_URL"))
	return &StatusError{Status: redirect.status, Err: &fault.Error{
		Class: fault.Permanent, Err: err, UserMessage: "The ERP integration calls Procore at an address that is out of date. Contact its administrator.",
	}}
}
