package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// provider is an OpenID provider. Its discovery document is read at the first sign-in and then kept; the signing keys are
// read again when a token has an unknown one.
type provider struct {
	OpenID
	secret   string
	redirect string // the console's URL to which the provider sends people back

	mu    sync.Mutex
	known *oidc.Provider
}

// providerTimeout limits each request to the provider.
const providerTimeout = 10 * time.Second

var providerClient = &http.Client{Timeout: providerTimeout}

// sameAs reports whether the discovery document of other is p's too.
func (p *provider) sameAs(other *provider) bool {
	return p != nil && other != nil && p.Issuer == other.Issuer
}

// discover returns the provider's endpoints and keys.
func (p *provider) discover() (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		// The provider keeps the context, to read keys later: it must not be a request's.
		known, err := oidc.NewProvider(oidc.ClientContext(context.Background(), providerClient), p.Issuer)
		if err != nil {
			return nil, err
		}
		p.known = known
	}
	return p.known, nil
}

func (p *provider) config(known *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.secret, Endpoint: known.Endpoint(), RedirectURL: p.redirect,
		Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...),
	}
}

// attempt is a sign-in in progress. It travels in a sealed cookie.
type attempt struct {
	State, Nonce, Verifier string
	To                     string    // the page to go to
	Until                  time.Time // it expires
}

// start returns the address of the provider's sign-in page.
func (p *provider) start(a attempt) (string, error) {
	known, err := p.discover()
	if err != nil {
		return "", err
	}
	return p.config(known).AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)), nil
}

// errMismatch is the error of an answer that does not belong to the attempt.
var errMismatch = errors.New("the provider's answer does not belong to this sign-in")

// finish exchanges the code for an ID token, verifies it, and returns the person.
func (p *provider) finish(ctx context.Context, a attempt, code string) (identity, error) {
	known, err := p.discover()
	if err != nil {
		return identity{}, err
	}
	ctx = oidc.ClientContext(ctx, providerClient)
	answer, err := p.config(known).Exchange(ctx, code, oauth2.VerifierOption(a.Verifier))
	if err != nil {
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) { // its body may have tokens
			return identity{}, fmt.Errorf("the provider refused the code: status %d, error %.100q", refused.Response.StatusCode, refused.ErrorCode)
		}
		return identity{}, err
	}
	raw, _ := answer.Extra("id_token").(string)
	idToken, err := known.Verifier(&oidc.Config{ClientID: p.ClientID}).Verify(ctx, raw)
	if err != nil {
		return identity{}, fmt.Errorf("the provider's ID token is not valid: %w", err)
	}
	if a.Nonce == "" || idToken.Nonce != a.Nonce {
		return identity{}, fmt.Errorf("%w: wrong nonce", errMismatch)
	}
	claims := map[string]any{}
	if err := idToken.Claims(&claims); err != nil {
		return identity{}, fmt.Errorf("the ID token's claims: %w", err)
	}
	return p.person(idToken.Subject, claims), nil
}

// person returns the person of an ID token. An email counts only if the provider has verified it: at some providers people
// choose their address themselves.
func (p *provider) person(subject string, claims map[string]any) identity {
	if claims["email_verified"] != true {
		delete(claims, "email")
	}
	name, _ := claims[p.NameClaim].(string)
	who := identity{kind: byOpenID, name: clean(cmp.Or(name, subject)), issuer: p.Issuer, client: p.ClientID}
	switch value := claims[p.RoleClaim].(type) {
	case string:
		who.values = []string{value}
	case []any:
		for _, v := range value[:min(len(value), 1000)] {
			if text, ok := v.(string); ok {
				who.values = append(who.values, text)
			}
		}
	}
	who.values = slices.DeleteFunc(who.values, func(v string) bool { return len(v) > 256 }) // a session has a bounded size
	return who
}

// grants returns the grants of a person.
func (p *provider) grants(who identity) (gs []Grant) {
	for _, m := range p.Roles {
		if slices.Contains(who.values, m.Value) {
			gs = append(gs, m.grant())
		}
	}
	return gs
}
