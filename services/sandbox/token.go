package sandbox

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// tokens are the access tokens issued, by their value.
type tokens struct {
	mu    sync.RWMutex
	known map[string]token
}

type token struct {
	co      *company
	expires time.Time
}

// company finds the company of an Authorization header, and whether the token still holds.
func (t *tokens) company(header string) (co *company, valid bool) {
	value, isBearer := strings.CutPrefix(header, "Bearer ")
	if !isBearer {
		return nil, false
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	tok := t.known[value]
	return tok.co, time.Now().Before(tok.expires)
}

func (t *tokens) issue(co *company, life time.Duration) (string, time.Time) {
	var raw [24]byte
	_, _ = rand.Read(raw[:]) // never fails; see crypto/rand
	value, now := hex.EncodeToString(raw[:]), time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known[value] = token{co: co, expires: now.Add(life)}
	return value, now
}

// ExpireTokens makes every access token issued so far invalid; companyID 0: of all companies.
func (sb *Sandbox) ExpireTokens(companyID int64) {
	sb.tokens.mu.Lock()
	defer sb.tokens.mu.Unlock()
	for value, tok := range sb.tokens.known {
		if companyID == 0 || tok.co.ID == companyID {
			tok.expires = time.Time{}
			sb.tokens.known[value] = tok
		}
	}
}

// issueToken is OAuth 2.0 client credentials: a form or JSON, as Procore takes both.
func issueToken(c *call) answer {
	grant, client, secret := c.credentials()
	if grant != "client_credentials" {
		return oauthError(http.StatusBadRequest, "unsupported_grant_type", "The authorization grant type is not supported: use client_credentials.")
	}
	c.sb.mu.RLock()
	co, want := c.sb.clients[client], ""
	if co != nil {
		want = co.ClientSecret
	}
	c.sb.mu.RUnlock()
	if co == nil || subtle.ConstantTimeCompare([]byte(want), []byte(secret)) != 1 {
		return oauthError(http.StatusUnauthorized, "invalid_client", "Client authentication failed due to unknown client or a wrong client secret.")
	}
	value, now := c.sb.tokens.issue(co, c.sb.cfg.TokenLife)
	return ok(map[string]any{
		"access_token": value, "token_type": "bearer",
		"expires_in": int(c.sb.cfg.TokenLife.Seconds()), "created_at": c.sb.told(now).Unix(),
	})
}

func (c *call) credentials() (grant, client, secret string) {
	if strings.HasPrefix(c.r.Header.Get("Content-Type"), "application/json") {
		var body struct {
			Grant  string `json:"grant_type"`
			Client string `json:"client_id"`
			Secret string `json:"client_secret"`
		}
		_ = c.decode(&body) // an empty grant type is refused by the caller
		return body.Grant, body.Client, body.Secret
	}
	form, _ := url.ParseQuery(string(c.body))
	grant, client, secret = form.Get("grant_type"), form.Get("client_id"), form.Get("client_secret")
	if user, pass, isBasic := c.r.BasicAuth(); isBasic && client == "" {
		client, secret = user, pass
	}
	return grant, client, secret
}

func oauthError(status int, code, why string) answer {
	return answer{status: status, body: map[string]string{"error": code, "error_description": why}}
}
