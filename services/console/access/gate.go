package access

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"connectrpc.com/connect"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/tieback/tieback/pkg/connlimit"
	"github.com/tieback/tieback/pkg/telemetry"
	"github.com/tieback/tieback/pkg/tokenhash"
)

const (
	maxHeader      = 16 << 10
	maxConnections = 1024
	maxBody        = 16 << 20 // an edited message: an ERP request of 1,000 lines is about 3 MB
	maxSignInBody  = 16 << 10

	// maxCall ends each request, streams too: a program connects again, and its token is checked again.
	maxCall = time.Hour
	// readTimeout and writeTimeout are for a page or a call that is no stream.
	readTimeout  = time.Minute
	writeTimeout = 10 * time.Minute // an audit asks Procore
)

// Gate is the middleware before the pages and the API. All methods may be called concurrently.
type Gate struct {
	log      *zap.Logger
	sampled  *zap.Logger // for requests without authentication
	path     string      // of the access file; "": local
	last     [sha256.Size]byte
	current  atomic.Pointer[rules]
	sessions sessions
	failures failures
	links    sessions // one-time links
	seal     cipher.AEAD
	open     *connlimit.Connections
	refuse   *connect.ErrorWriter
	now      func() time.Time
}

// Open returns a gate for the access file at path.
func Open(path string, log *zap.Logger) (*Gate, error) {
	r, sum, err := read(path)
	if err != nil {
		return nil, err
	}
	g := newGate(r, log)
	g.path, g.last = path, sum
	return g, nil
}

// Local returns a gate without an access file, for one process on one machine. It answers only requests to a loopback host,
// and signs in with one-time links. See Link.
func Local(log *zap.Logger) *Gate { return newGate(localRules(), log) }

func newGate(r *rules, log *zap.Logger) *Gate {
	key := make([]byte, 32)
	_, _ = rand.Read(key)            // it never fails
	block, err := aes.NewCipher(key) // nor does it, with 32 bytes
	seal, err2 := cipher.NewGCMWithRandomNonce(block)
	if err := errors.Join(err, err2); err != nil {
		panic(err)
	}
	g := &Gate{
		log: log, seal: seal, now: time.Now,
		open:   connlimit.New(connlimit.Share(maxConnections, 4)),
		refuse: connect.NewErrorWriter(),
		sampled: log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
			return zapcore.NewSamplerWithOptions(c, time.Minute, 5, 0)
		})),
	}
	g.current.Store(r)
	return g
}

func (g *Gate) rules() *rules { return g.current.Load() }

// Watch rereads the access file until ctx ends. A change is applied when two consecutive reads return the same: the
// sessions of a removed token or role end. An invalid file is logged once and changes nothing.
func (g *Gate) Watch(ctx context.Context, every time.Duration) {
	if g.path == "" {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	seen := g.last
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r, sum, err := read(g.path)
		stable := sum == seen
		if seen = sum; !stable || sum == g.last {
			continue
		}
		g.last = sum
		if err != nil {
			g.log.Error("the changed access file is invalid and not used: correct it; the roles and tokens of before still apply", zap.Error(err))
			continue
		}
		if old := g.rules().openid; r.openid.sameAs(old) {
			old.mu.Lock()
			r.openid.known = old.known
			old.mu.Unlock()
		}
		g.current.Store(r)
		g.log.Info("access file read", zap.Int("tokens", len(r.tokens)), zap.Bool("openid", r.openid != nil))
	}
}

// Serve serves h behind the gate on l until ctx ends, with limits on connections, headers and times. It closes l. HTTP/2
// without TLS is accepted, for gRPC.
func (g *Gate) Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler: g.Handler(h), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxHeader, ErrorLog: zap.NewStdLog(g.sampled),
		Protocols: new(http.Protocols),
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	return telemetry.ServeWith(ctx, g.open.Limit(srv, l), srv)
}

// Paths of the gate. All other paths are the handler's.
const (
	pathSignIn   = "/sign-in" // GET: a page; POST: with a token
	pathStart    = "/sign-in/start"
	pathCallback = "/sign-in/callback"
	pathLink     = "/sign-in/link"
	pathSignOut  = "/sign-out" // POST
	pathStatic   = "/static/"  // the handler's; needs no caller
)

// Handler returns the middleware before h. It answers the paths of signing in and out itself. h is called with a Caller in
// the context, and without one only for GET /static/.
func (g *Gate) Handler(h http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathSignIn, g.signInPage)
	mux.HandleFunc("POST "+pathSignIn, g.signInWithToken)
	mux.HandleFunc("GET "+pathStart, g.start)
	mux.HandleFunc("GET "+pathCallback, g.callback)
	mux.HandleFunc("GET "+pathLink, g.followLink)
	mux.HandleFunc("POST "+pathSignOut, g.signOut)
	mux.Handle("GET "+pathStatic, h)
	mux.Handle("/", g.authenticated(h))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ru := g.rules()
		headers(w.Header(), ru)
		switch {
		case ru.local && !loopback(r.Host):
			g.fail(w, r, http.StatusMisdirectedRequest, "This console is for the machine that it runs on. Open it at http://localhost.")
		case ru.protect.Check(r) != nil:
			g.sampled.Warn("cross-origin request refused", zap.String("path", short(r.URL.Path)), zap.String("origin", short(r.Header.Get("Origin"))))
			g.fail(w, r, http.StatusForbidden, "The request came from another site. Open the console and do it there.")
		default:
			limitRequest(w, r)
			mux.ServeHTTP(w, r)
		}
	})
}

// UserHeader is the header in which a client of AsOwner gives the name that is recorded with what it does.
const UserHeader = "Tieback-User"

// AsOwner returns a handler that calls h as Owner, for a socket that only its owner can open. The name is that of UserHeader,
// or name without one.
func AsOwner(name string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		h.ServeHTTP(w, r.WithContext(With(r.Context(), Owner(cmp.Or(r.Header.Get(UserHeader), name)))))
	})
}

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// headers sets the headers of all answers. Static files replace Cache-Control.
func headers(h http.Header, ru *rules) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if ru.base != nil && ru.base.Scheme == "https" {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// limitRequest limits the time and the body of a request.
func limitRequest(w http.ResponseWriter, r *http.Request) {
	most := int64(maxBody)
	if strings.HasPrefix(r.URL.Path, pathSignIn) || r.Method == http.MethodGet {
		most = maxSignInBody
	}
	r.Body = http.MaxBytesReader(w, r.Body, most)
	if !isStream(r) {
		c := http.NewResponseController(w)
		_ = c.SetReadDeadline(time.Now().Add(readTimeout)) // a recorder in a test has no deadlines
		_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
}

// isAPI reports whether a request is a call of the API.
func isAPI(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/tieback.operator.") }

// isStream reports whether a request is a call whose answer is a stream. A client of gRPC names its calls the same.
func isStream(r *http.Request) bool { return isAPI(r) && strings.Contains(r.URL.Path, "/Watch") }

// authenticated calls h with the caller, or refuses the request.
func (g *Gate) authenticated(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, until, err := g.caller(r)
		if err != nil {
			g.unauthenticated(w, r, err)
			return
		}
		if !c.MayAny(See) {
			g.fail(w, r, http.StatusForbidden, "You are signed in as "+c.Name+", but have no role. The access file of the console maps groups to roles: ask the person who runs Tieback.")
			return
		}
		g.open.Keep(r)
		ctx, cancel := context.WithDeadline(With(r.Context(), c), until)
		defer cancel()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// Errors of caller.
var (
	errNoSession = errors.New("sign in, or send a token in the Authorization header")
	errToken     = errors.New("the token in the Authorization header is not valid")
	errLimited   = errors.New("too many failed sign-ins from this address; try again in a minute")
)

// caller returns the caller of a request, and when the call must end.
func (g *Gate) caller(r *http.Request) (Caller, time.Time, error) {
	ru, now := g.rules(), g.now()
	if r.Header.Get("Authorization") != "" {
		hash, err := g.tokenOf(r, bearer(r))
		if err != nil {
			return Caller{}, now, err
		}
		return ru.caller(identity{kind: byToken, token: hash}), now.Add(maxCall), nil
	}
	s, ok := g.sessions.get(now, g.cookie(r, sessionCookie))
	if !ok {
		return Caller{}, now, errNoSession
	}
	c := ru.caller(s.who)
	if c.Name == "" { // its token or provider was removed
		return Caller{}, now, errNoSession
	}
	if end := now.Add(maxCall); s.until.After(end) {
		return c, end, nil
	}
	return c, s.until, nil
}

// caller returns what an identity may do by these rules. It has no name if its token or provider is no longer in the file.
func (ru *rules) caller(who identity) Caller {
	switch who.kind {
	case byOpenID:
		if ru.openid == nil || ru.openid.Issuer != who.issuer || ru.openid.ClientID != who.client {
			return Caller{}
		}
		return NewCaller(who.name, ru.openid.grants(who)...)
	case byToken:
		for _, t := range ru.tokens {
			for _, hash := range t.hashes {
				if hash == who.token {
					return NewCaller(t.name, t.grant)
				}
			}
		}
	case byLink:
		if ru.local {
			return Owner(who.name)
		}
	}
	return Caller{}
}

// tokenOf returns the hash of a valid token. It takes the same time for all tokens that are not valid.
func (g *Gate) tokenOf(r *http.Request, text string) (tokenhash.Hash, error) {
	ru := g.rules()
	from := client(r, ru.proxies)
	if g.failures.tooMany(g.now(), from) {
		return tokenhash.Hash{}, errLimited
	}
	found := false
	for _, t := range ru.tokens {
		found = tokenhash.Match(t.hashes, text) || found
	}
	if !found || text == "" {
		g.failed(from, "token")
		return tokenhash.Hash{}, errToken
	}
	return tokenhash.Of(text), nil
}

// failed counts and logs a failed sign-in.
func (g *Gate) failed(from netip.Addr, with string) {
	g.failures.add(g.now(), from)
	g.sampled.Warn("failed sign-in", zap.String("with", with), zap.Stringer("from", from))
}

// bearer returns the token of the Authorization header; "": there is none.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// unauthenticated sends a browser to the sign-in page, and answers a program with an error.
func (g *Gate) unauthenticated(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, errLimited):
		w.Header().Set("Retry-After", "60")
		w.Header().Set("Connection", "close")
		g.fail(w, r, http.StatusTooManyRequests, sentence(err))
	case errors.Is(err, errToken) || isAPI(r):
		w.Header().Set("WWW-Authenticate", `Bearer realm="tieback"`)
		w.Header().Set("Connection", "close") // each guess needs a new connection
		g.fail(w, r, http.StatusUnauthorized, sentence(err))
	case r.Header.Get("HX-Request") != "": // htmx loads the sign-in page instead of the page that it is on
		w.Header().Set("HX-Redirect", signInFor(r.Header.Get("HX-Current-URL")))
		w.WriteHeader(http.StatusUnauthorized)
	case r.Method == http.MethodGet:
		http.Redirect(w, r, signInFor(r.URL.RequestURI()), http.StatusSeeOther)
	default: // what was posted is lost
		g.fail(w, r, http.StatusUnauthorized, "Your session has ended, and nothing was done. Sign in and do it again.")
	}
}

// signInFor returns the sign-in page that leads to a page of the console, given by its URL.
func signInFor(page string) string {
	u, err := url.Parse(page)
	if err != nil {
		return pathSignIn
	}
	return pathSignIn + "?" + url.Values{"to": {local(u.RequestURI())}}.Encode()
}

// local returns the path and query of a page of the console, or / if to is something else, such as another site.
func local(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") || strings.ContainsRune(to, '\\') ||
		strings.HasPrefix(to, "//") || strings.HasPrefix(u.Path, pathSignIn) || len(to) > 2000 || strings.ContainsFunc(to, unicode.IsControl) {
		return "/"
	}
	return u.RequestURI()
}

// clean returns text without control and formatting characters, for names and logs, at most 128 bytes.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, text)
	return strings.ToValidUTF8(text[:min(len(text), 128)], "")
}

func short(text string) string { return text[:min(len(text), 200)] }

// sentence returns an error as a sentence for a page.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// fail answers with an error: as the API does, or as a page.
func (g *Gate) fail(w http.ResponseWriter, r *http.Request, status int, text string) {
	if isAPI(r) {
		code := map[int]connect.Code{
			http.StatusUnauthorized: connect.CodeUnauthenticated, http.StatusTooManyRequests: connect.CodeResourceExhausted,
		}[status]
		if code == 0 {
			code = connect.CodePermissionDenied
		}
		if g.refuse.IsSupported(r) {
			_ = g.refuse.Write(w, r, connect.NewError(code, errors.New(text)))
			return
		}
	}
	g.render(w, status, page{Title: http.StatusText(status), Text: text, SignIn: status == http.StatusUnauthorized, SignOut: status == http.StatusForbidden})
}
