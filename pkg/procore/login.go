package procore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/sync/singleflight"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/fault"
)

// early is how long before its end a token is renewed.
const early = time.Minute

// login is a session's token, or why there is none. A login that failed is not tried again for
// 1, 2, 4 … 60 seconds, or as long as Procore asks, with what failed: other credentials are
// tried at once. Meanwhile calls fail as it did.
type login struct {
	group singleflight.Group
	mu    sync.Mutex
	token *oauth2.Token

	failed   error // the last one, since the last that worked; nil: none
	times    int   // in a row
	until    time.Time
	clientID string // that failed
	secret   company.Secret
}

// accessToken gives a token other than refused, which may be nil, and fetches one if there is none.
// Those who wait for the same fetch share it; a caller whose ctx ends waits no longer.
func (s *Session) accessToken(ctx context.Context, refused *oauth2.Token) (*oauth2.Token, error) {
	s.login.mu.Lock()
	tok := s.login.token
	s.login.mu.Unlock()
	if tok != nil && tok != refused && time.Until(tok.Expiry) > early {
		return tok, nil
	}
	fetched := s.login.group.DoChan("", func() (any, error) { return s.logIn() })
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-fetched:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*oauth2.Token), nil
	}
}

// logIn fetches a token for whoever waits, so that no single caller's context bounds it. It
// keeps what came of it.
func (s *Session) logIn() (*oauth2.Token, error) {
	now := s.company.Client.Credentials() // they may be rotated
	id, secret := now.ID, now.Secret
	if err := s.login.recall(id, secret); err != nil {
		return nil, err
	}
	tok, err := s.fetchToken(id, secret)
	if err != nil {
		s.login.fail(err, id, secret)
		return nil, err
	}
	s.login.mu.Lock()
	defer s.login.mu.Unlock()
	s.login.token, s.login.failed, s.login.times = tok, nil, 0
	return tok, nil
}

// recall gives the error of a login that is not to be tried again yet.
func (l *login) recall(id string, secret company.Secret) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := time.Until(l.until)
	if l.failed == nil || wait <= 0 || id != l.clientID || secret != l.secret {
		return nil
	}
	if fault.ClassOf(l.failed) == fault.Throttled {
		return fault.Wait(jitter(wait), l.failed)
	}
	return l.failed
}

// expires is when the token ends; false: there is none.
func (l *login) expires() (time.Time, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.token == nil {
		return time.Time{}, false
	}
	return l.token.Expiry, true
}

func (l *login) fail(err error, id string, secret company.Secret) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id != l.clientID || secret != l.secret {
		l.times = 0
	}
	wait := max(min(time.Second<<l.times, time.Minute), fault.RetryAfter(err))
	l.failed, l.clientID, l.secret, l.times, l.until = err, id, secret, min(l.times+1, 6), time.Now().Add(wait)
}

// fetchToken logs in. Its errors hold nothing of what was sent.
func (s *Session) fetchToken(id string, secret company.Secret) (*oauth2.Token, error) {
	cfg := clientcredentials.Config{
		ClientID: id, ClientSecret: string(secret),
		TokenURL: s.cfg.LoginURL + "/oauth/token", AuthStyle: oauth2.AuthStyleInParams,
	}
	client := &http.Client{Transport: dated{s.http.Transport, &s.meter.clock}, Timeout: s.cfg.Timeout, CheckRedirect: s.http.CheckRedirect} // the secret goes where it was meant to go
	tok, err := cfg.Token(context.WithValue(context.Background(), oauth2.HTTPClient, client))
	var answer *oauth2.RetrieveError
	switch {
	case errors.As(err, &answer) && answer.Response.StatusCode == http.StatusTooManyRequests:
		wait, ok := retryAfter(answer.Response.Header, time.Now().UnixMilli())
		if !ok {
			wait = 10_000
		}
		return nil, fault.Wait(jitter(time.Duration(wait)*time.Millisecond), errors.New("the login of Procore answered 429"))
	case errors.As(err, &answer): // its own text may hold what was sent
		if code := answer.Response.StatusCode; code >= 400 && code < 500 {
			s.refused.Inc()
		}
		err = &LoginError{Status: answer.Response.StatusCode, Company: s.company.ID}
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = fmt.Errorf("login: no answer from Procore%s: %w", mistyped(u, "TIEBACK_PROCORE_LOGIN_URL"), u.Err)
	}
	if err != nil {
		return nil, fault.New(fault.Transient, err)
	}
	if tok.Expiry.IsZero() {
		tok.Expiry = time.Now().Add(time.Hour)
	}
	return tok, nil
}

// LoginError is what the login of Procore answered instead of a token. It comes inside a transient error:
// the secret may be in rotation.
type LoginError struct {
	Status  int
	Company int64
}

func (e *LoginError) Error() string {
	return fmt.Sprintf("the login of Procore answered %d %s (check client_id and client_secret of company %d)", e.Status, http.StatusText(e.Status), e.Company)
}

// dated lets a clock hear the answers: a login's is the first that a process gets of Procore,
// so that it knows Procore's time before it makes a call.
type dated struct {
	http.RoundTripper
	clock *theirs
}

func (d dated) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := d.clock.local()
	resp, err := d.RoundTripper.RoundTrip(r)
	if err == nil {
		d.clock.hear(resp.Header, sent)
	}
	return resp, err
}
