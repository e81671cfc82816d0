// Package procore calls Procore's API: OAuth client credentials, one login for all companies of a
// client, the company header, rate limits obeyed from the headers, failures classed by package fault.
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

// Config says where Procore is, for clients that have no hosts of their own.
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

// account is one of the companies file's clients with what its companies share: hosts, token and limits.
type account struct {
	client    *company.Client
	companies []*Session // by id
	cfg       Config     // the hosts are the client's
	log       *zap.Logger
	http      *http.Client
	limiter   *limiter
	login     login
	answers   *semaphore.Weighted // bytes of large answers in memory; of all accounts
}

// Session makes the calls of one company. It repeats none of them, unless it comes from Retrying. Its methods may be
// called concurrently.
type Session struct {
	*sessionState
	retry Retry
}

// sessionState is what all sessions of a company share.
type sessionState struct {
	*account
	company *company.Company
	sizes   sizes    // of the calls of sync actions
	missing sync.Map // names of routes, see Lack
	calls   *prometheus.CounterVec
	refused prometheus.Counter // of our credentials or token
	trouble trouble.Tracker
}

// New makes a client for the companies; reg gets its metrics.
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
			refused: refused.WithLabelValues(strconv.FormatInt(id, 10)), // there from the start: the first refusal is an increase
		}}
		a.companies, c.sessions[id] = append(a.companies, s), s
	}
	return c, reg.Register(gauge{c})
}

// newAccount makes the account of a company's client.
func newAccount(cfg Config, co *company.Company) *account {
	if co.Client.APIURL != "" {
		cfg.APIURL, cfg.LoginURL = co.Client.APIURL, co.Client.LoginURL
	}
	return &account{
		client: co.Client, cfg: cfg, log: zap.NewNop(), limiter: newLimiter(StoreKey(co.ID, co.Client.Name), co.Client.Name != "", cfg.Timeout, secretOf(co.Client)),
		// A redirect is not followed: a write would be with a GET, whose 200 says that nothing was done.
		http: &http.Client{Transport: cfg.Transport, Timeout: cfg.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// ShareLimits has the rate limits, and what became of logins, kept in a store, with all other processes that
// use the same clients. Without it this process counts as the only one. Call it before the first call.
func (c *Client) ShareLimits(store Store) {
	for _, a := range c.accounts {
		a.limiter.store = store
	}
}

// LogTo has a log say when Procore takes or refuses other credentials. Without it nothing is logged. Call it before
// the first call.
func (c *Client) LogTo(log *zap.Logger) {
	for _, a := range c.accounts {
		a.log, a.limiter.log = log, log
	}
}

// Company gives the session of a company. One that is not in the companies file is a
// transient error: another service may know it already, and this one after its restart.
func (c *Client) Company(id int64) (*Session, error) {
	s, ok := c.sessions[id]
	if !ok {
		return nil, fault.New(fault.Transient, fmt.Errorf("company %d is not in the companies file", id))
	}
	return s, nil
}

// MarkMissing notes that Procore does not have a route, so that it is not called again for this company while the process
// runs: Procore holds needless 404s against an app.
func (s *Session) MarkMissing(r Route) { s.missing.Store(r.Name, true) }

// Missing reports whether Lack was called for the route.
func (s *Session) Missing(r Route) bool {
	_, lacks := s.missing.Load(r.Name)
	return lacks
}

// Troubles are those of the companies that Procore does not serve now. silent is how long a call may be
// under way.
func (c *Client) Troubles(silent time.Duration) []trouble.Trouble {
	var all []trouble.Trouble
	for id, s := range c.sessions {
		if t, bad := s.trouble.Now(id, fault.FromProcore, time.Now(), silent); bad {
			all = append(all, t)
		}
	}
	return all
}

// Quota is what is left of the rate limit; false: not known now.
func (s *Session) Quota() (Quota, bool) { return s.limiter.left(s.company.ID) }

// Call is one call: its route, the record in the path, the query and the body.
type Call struct {
	Route Route
	ID    int64      // fills {id}
	Hook  int64      // fills {hook_id}
	Query url.Values // may be nil
	Body  any        // marshalled to JSON; nil: none
	items int        // that the answer may have, of a list or a sync action
}

// Do makes a call and returns the answer's body. A token that Procore no longer takes is
// renewed and the call made once more.
//
//	429, 503           throttled, until the limit's reset or Retry-After
//	5xx, no answer     transient; ambiguous for calls that write
//	401 twice          transient: the secret may be in rotation
//	other 4xx          permanent, with Procore's reason as the sentence
//	3xx                permanent: it is not followed, and says where it points
//
// All but those of the caller's own ctx come from fault.FromProcore.
func (s *Session) Do(ctx context.Context, c Call) (body []byte, err error) {
	err = s.repeat(ctx, c.Route, func() error {
		a, err := s.do(ctx, c)
		body = a.body
		return err
	})
	return body, err
}

// tracer: each call of Procore is a span, its waiting for quota and token included; see pkg/bus/trace.go.
var tracer = otel.Tracer("github.com/tieback/tieback/pkg/procore")

// answer is what Procore said; one without an error is a 2xx.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do is Do with the answer's headers, which lists need.
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

// doAuthorized makes a call, and again if the token was not taken.
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

// text is a text of Procore's without what it may echo of ours.
func (a *account) text(s string) string { return fault.Text(s, a.secrets()...) }

// secrets are those that calls may have sent.
func (a *account) secrets() []string {
	l := &a.login
	now := a.client.Credentials()
	l.mu.Lock()
	defer l.mu.Unlock()
	return []string{l.sent[0], l.sent[1], string(now.Secret), string(l.of.Secret), string(l.tried.Secret)}
}

type countKey struct{}

// Counted returns a context whose calls are counted in n: for what one event costs.
func Counted(ctx context.Context, n *atomic.Int32) context.Context {
	return context.WithValue(ctx, countKey{}, n)
}

// marshal gives nil for no body.
func marshal(v any) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	return json.Marshal(v)
}

// send makes the call; a 429 or 503 comes back as a throttled error.
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
	claim, err := s.limiter.reserve(ctx, s.company.ID)
	if err != nil {
		return answer{}, err
	}
	if n, ok := ctx.Value(countKey{}).(*atomic.Int32); ok {
		n.Add(1)
	}
	sent := s.limiter.clock.local()
	resp, err := s.http.Do(req)
	if err != nil {
		s.limiter.recordFailure(claim, reached(err))
		s.count(c.Route, "error")
		return answer{}, s.noAnswer(c.Route, err)
	}
	defer resp.Body.Close()
	wait := s.limiter.recordAnswer(claim, sent, resp.StatusCode, resp.Header)
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

// reached says whether a call that got no answer may have reached Procore.
func reached(err error) outcome {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return unsent
	}
	return lost
}

// mistyped names the setting of a host to which no connection is made: it may be wrong. "": one is made.
func mistyped(err error, setting string) string {
	if reached(err) == unsent {
		return " (" + setting + ")"
	}
	return ""
}

// setting names where a host of the client is set: a field of the companies file, or else the variable.
func (a *account) setting(field, variable string) string {
	if a.client.APIURL != "" {
		return field + " of " + a.client.String()
	}
	return variable
}

// noAnswer classes a call that was not answered: a write may have happened.
func (a *account) noAnswer(r Route, err error) error {
	where := mistyped(err, a.setting("api_url", "TIEBACK_PROCORE_API_URL"))
	sent := reached(err) != unsent
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

// errTimeout is in the chain of the error of a call that was sent and not answered in Config.Timeout.
var errTimeout = errors.New("timeout")

// redirected is the refusal of a call that Procore wants made elsewhere. It tells where, without the query,
// which may hold a secret; and it does not say that nothing was done: after a write a 303 would mean that it was.
func (a *account) redirected(r Route, said answer) error {
	to := "nowhere"
	if u, err := url.Parse(said.header.Get("Location")); err == nil && (u.Host != "" || u.Path != "") {
		to = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	}
	err := fmt.Errorf("%s: Procore answered %d and points to %s, which is not followed: correct %s, or the route's path", r.Name, said.status, to, a.setting("api_url", "TIEBACK_PROCORE_API_URL"))
	return &StatusError{Status: said.status, Err: &fault.Error{
		Class: fault.Permanent, Err: err, UserMessage: "The ERP integration calls Procore at an address that is out of date. Contact its administrator.",
	}}
}
