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

// tokens has the access tokens by value.
type tokens struct {
	mu    sync.RWMutex
	known map[string]token
}

type token struct {
	client  *client
	expires time.Time
}

// client returns the client of the access token in an Authorization header, nil for an unknown token.
func (t *tokens) client(header string) (cl *client, valid bool) {
	value, isBearer := strings.CutPrefix(header, "Bearer ")
	if !isBearer {
		return nil, false
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	tok := t.known[value]
	return tok.client, time.Now().Before(tok.expires)
}

func (t *tokens) issue(cl *client) (string, time.Time) {
	var raw [24]byte
	_, _ = rand.Read(raw[:]) // never fails; see crypto/rand
	value, now := hex.EncodeToString(raw[:]), time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known[value] = token{client: cl, expires: now.Add(tokenLifetime)}
	return value, now
}

// expire makes the access tokens of a client invalid.
func (t *tokens) expire(cl *client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for value, tok := range t.known {
		if tok.client == cl {
			tok.expires = time.Time{}
			t.known[value] = tok
		}
	}
}

// issueToken is the OAuth 2.0 client credentials grant. Like Procore, it accepts a form and JSON.
func issueToken(c *call) answer {
	grant, id, secret := c.credentials()
	if grant != "client_credentials" {
		return oauthError(http.StatusBadRequest, "unsupported_grant_type", "The authorization grant type is not supported: use client_credentials.")
	}
	c.sb.mu.RLock()
	cl, want := c.sb.clients[id], ""
	if cl != nil {
		want = cl.secret
	}
	c.sb.mu.RUnlock()
	if cl == nil || subtle.ConstantTimeCompare([]byte(want), []byte(secret)) != 1 {
		return oauthError(http.StatusUnauthorized, "invalid_client", "Client authentication failed due to unknown client or a wrong client secret.")
	}
	value, now := c.sb.tokens.issue(cl)
	return ok(map[string]any{
		"access_token": value, "token_type": "bearer",
		"expires_in": int(tokenLifetime.Seconds()), "created_at": c.sb.serverTime(now).Unix(),
	})
}

func (c *call) credentials() (grant, client, secret string) {
	if strings.HasPrefix(c.r.Header.Get("Content-Type"), "application/json") {
		var body struct {
			Grant  string `json:"grant_type"`
			Client string `json:"client_id"`
			Secret string `json:"client_secret"`
		}
		_ = c.decode(&body) // the caller refuses an empty grant type
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
