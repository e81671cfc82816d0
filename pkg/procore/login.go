package procore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/sync/singleflight"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/fault"
)

// early is how long before it expires a token is renewed.
const early = time.Minute

// login is the token of an account, or the reason why it has none. A failed login is repeated with the same credentials after
// 1, 2, 4 … 60 seconds, or the wait that Procore asks for; with other credentials at once.
//
//	credentials   token          a call
//	───────────── ────────────── ─────────────────────────────────────────────
//	accepted      valid          uses it
//	accepted      none, or ends  fetches one
//	changed       valid          uses it, while Renew fetches one with the new credentials
//	refused       valid          uses it until it expires, or until Procore refuses it
//	refused       none, or ended fails with the error of the login
type login struct {
	group singleflight.Group
	mu    sync.Mutex
	token *oauth2.Token
	with  company.Credentials // that the token was fetched with
	sent  [2]string           // this token and the one before, which an answer may echo

	failed   error               // the last failure since the last success; nil: none
	failures int                 // in a row
	retryAt  time.Time           // no login with the same credentials until then
	tried    company.Credentials // that failed
	denied   time.Time           // when Procore first refused them; zero: it did not
}

// accessToken returns a token other than refused, which may be nil, and fetches one if there is none. Concurrent callers share
// one fetch. A caller whose ctx ends stops waiting.
func (a *account) accessToken(ctx context.Context, refused *oauth2.Token) (*oauth2.Token, error) {
	a.login.mu.Lock()
	if refused != nil && a.login.token == refused {
		a.login.token = nil
	}
	tok := a.login.token
	a.login.mu.Unlock()
	if tok != nil && time.Until(tok.Expiry) > early {
		return tok, nil
	}
	fetched := a.login.group.DoChan("", func() (any, error) { return a.logIn() })
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-fetched:
		switch {
		case r.Err == nil:
			return r.Val.(*oauth2.Token), nil
		case tok != nil && time.Until(tok.Expiry) > 0: // in its last minute
			return tok, nil
		}
		return nil, r.Err
	}
}

// Renew logs in every client whose credentials are other than those of its last login, and returns when all
// logins have ended, successfully or not. A client that never logged in does so with its first call. Call it every few
// seconds, from one goroutine.
func (c *Client) Renew(ctx context.Context) {
	var all sync.WaitGroup
	for _, a := range c.accounts {
		if !a.changed() {
			continue
		}
		all.Go(func() {
			select {
			case <-ctx.Done():
			case <-a.login.group.DoChan("", func() (any, error) { return a.logIn() }): // it logs and stores the result
			}
		})
	}
	all.Wait()
}

// changed reports whether the credentials differ from those of the last login.
func (a *account) changed() bool {
	now := a.client.Credentials()
	a.login.mu.Lock()
	defer a.login.mu.Unlock()
	if a.login.failed != nil {
		return now != a.login.tried || a.login.token != nil && now != a.login.with
	}
	return a.login.token != nil && now != a.login.with
}

// logIn fetches a token for all waiting callers, so it is not bound to the context of one. It stores the result.
func (a *account) logIn() (*oauth2.Token, error) {
	now := a.client.Credentials() // they may be rotated
	if err := a.login.failure(now); err != nil {
		return nil, err
	}
	tok, err := a.fetchToken(now)
	if err != nil {
		a.loginFailed(err, now)
		return nil, err
	}
	a.loggedIn(tok, now)
	return tok, nil
}

// failure returns the error of the last login if it must not be repeated yet.
func (l *login) failure(now company.Credentials) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := time.Until(l.retryAt)
	if l.failed == nil || wait <= 0 || now != l.tried {
		return nil
	}
	if fault.ClassOf(l.failed) == fault.Throttled {
		return fault.Wait(jitter(wait), l.failed)
	}
	return l.failed
}

// expires returns when the token expires; false: there is none.
func (l *login) expires() (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.token == nil {
		return time.Time{}, false
	}
	return l.token.Expiry, true
}

// refusedSince returns since when Procore refuses the credentials; zero: it does not.
func (l *login) refusedSince() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.denied
}

// loggedIn stores a token. It logs that the credentials were rotated or are accepted again.
func (a *account) loggedIn(tok *oauth2.Token, with company.Credentials) {
	l := &a.login
	l.mu.Lock()
	rotated, refused := l.token != nil && with != l.with || l.failed != nil && with != l.tried, !l.denied.IsZero()
	l.token, l.with, l.failed, l.failures, l.denied = tok, with, nil, 0, time.Time{}
	l.sent = [2]string{tok.AccessToken, l.sent[0]}
	l.mu.Unlock()
	switch {
	case rotated:
		a.log.Info("secrets rotated: Procore accepts the new credentials", zap.Stringer("of", a.client))
	case refused:
		a.log.Info("Procore accepts the credentials again", zap.Stringer("of", a.client))
	}
	a.keepRefusal(nil)
}

// loginFailed stores a failure. It logs it once for the same credentials.
func (a *account) loginFailed(err error, with company.Credentials) {
	l := &a.login
	l.mu.Lock()
	other := l.failed == nil || with != l.tried
	if other {
		l.failures, l.denied = 0, time.Time{}
	}
	wait := max(min(time.Second<<l.failures, time.Minute), fault.RetryAfter(err))
	l.failed, l.tried, l.failures, l.retryAt = err, with, min(l.failures+1, 6), time.Now().Add(wait)
	var answer *LoginError
	refused := errors.As(err, &answer) && answer.refused()
	news := refused && l.denied.IsZero()
	if news {
		l.denied = time.Now()
	}
	var until time.Time
	if l.token != nil && time.Until(l.token.Expiry) > 0 {
		until = l.token.Expiry
	}
	since := l.denied
	l.mu.Unlock()
	if refused {
		a.keepRefusal(&Refusal{Since: since, Status: answer.Status, Until: until})
	}
	if !news {
		return
	}
	fields := []zap.Field{zap.Stringer("of", a.client), zap.Int64s("companies", a.ids()), zap.Error(err)}
	if until.IsZero() {
		a.log.Error("Procore refuses the credentials of the companies file, and no call can be made: correct client_id and client_secret there; no restart is needed", fields...)
		return
	}
	a.log.Error("Procore refuses the credentials of the companies file: correct client_id and client_secret there; no restart is needed. The previous token is used until it expires",
		append(fields, zap.Time("token_until", until))...)
}

func (a *account) ids() (ids []int64) {
	for _, s := range a.companies {
		ids = append(ids, s.company.ID)
	}
	return ids
}

// fetchToken logs in. Its errors contain nothing of the request.
func (a *account) fetchToken(with company.Credentials) (*oauth2.Token, error) {
	cfg := clientcredentials.Config{
		ClientID: with.ID, ClientSecret: string(with.Secret),
		TokenURL: a.cfg.LoginURL + "/oauth/token", AuthStyle: oauth2.AuthStyleInParams,
	}
	client := &http.Client{Transport: boundedTransport{a.http.Transport}, Timeout: a.cfg.Timeout, CheckRedirect: a.http.CheckRedirect} // a redirect is not followed with the secret
	tok, err := cfg.Token(context.WithValue(context.Background(), oauth2.HTTPClient, client))
	var answer *oauth2.RetrieveError
	switch {
	case errors.As(err, &answer) && answer.Response.StatusCode == http.StatusTooManyRequests:
		wait := parseRates(answer.Response.Header, time.Now()).retryAfter
		if wait < 0 {
			wait = 10 * time.Second
		}
		return nil, fault.Wait(jitter(wait), errors.New("the login of Procore answered 429"))
	case errors.As(err, &answer): // its own text may contain the request
		refusal := &LoginError{Status: answer.Response.StatusCode, Client: a.client.String()}
		if refusal.refused() {
			for _, s := range a.companies {
				s.refused.Inc()
			}
		}
		err = refusal
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = fmt.Errorf("login: no answer from Procore%s: %w", mistyped(u, a.setting("login_url", "TIEBACK_PROCORE_LOGIN_URL")), u.Err)
	}
	if err != nil {
		return nil, &fault.Error{Class: fault.Transient, Reason: loginReason(err), Err: fault.Clean(err, string(with.Secret))}
	}
	if tok.Expiry.IsZero() {
		tok.Expiry = time.Now().Add(time.Hour)
	}
	return tok, nil
}

// loginReason returns the reason of a failed login.
func loginReason(err error) fault.Reason {
	var answer *LoginError
	switch {
	case !errors.As(err, &answer):
		return fault.NoAnswer
	case answer.refused():
		return fault.Denied
	}
	return ""
}

// LoginError is an answer of Procore's login without a token. It is wrapped in a transient error, as the secret may be in
// rotation.
type LoginError struct {
	Status int
	Client string // which client, for people
}

func (e *LoginError) Error() string {
	return fmt.Sprintf("the login of Procore answered %d %s (check client_id and client_secret of %s)", e.Status, http.StatusText(e.Status), e.Client)
}

// refused reports whether the answer refuses the credentials.
func (e *LoginError) refused() bool { return e.Status >= 400 && e.Status < 500 }

// boundedTransport bounds the answers of the login.
type boundedTransport struct{ http.RoundTripper }

func (b boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxSmall)
	}
	return resp, err
}
