package access

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"os/user"
	"time"

	"go.uber.org/zap"
	"golang.org/x/oauth2"
)

// Times of a sign-in.
const (
	attemptTime = 10 * time.Minute // at the provider
	linkTime    = 10 * time.Minute
)

// page is a page of the gate.
type page struct {
	Title, Text string
	OpenID      string // the provider's host; "": not offered
	Tokens      bool
	To          string // the page to go to after signing in
	SignIn      bool   // offer a link to the sign-in page
	SignOut     bool   // offer to sign out
	Alert       bool   // Text is an error
}

// The pages use the style sheet of package web, which needs no caller.
var pages = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{.Title}} · Tieback</title>
<link rel="stylesheet" href="/static/console.css">
</head>
<body class="gate">
<main>
<p class="brand">Tieback</p>
<h1>{{.Title}}</h1>
{{with .Text}}<p{{if $.Alert}} role="alert" class="alert"{{end}}>{{.}}</p>{{end}}
{{with .OpenID}}<p><a class="button primary" href="/sign-in/start?to={{$.To}}">Sign in with {{.}}</a></p>{{end}}
{{if .Tokens}}<form method="post" action="/sign-in">
<input type="hidden" name="to" value="{{.To}}">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required>
<button{{if not .OpenID}} class="primary"{{end}}>Sign in with a token</button>
</form>{{end}}
{{if .SignIn}}<p><a class="button primary" href="/sign-in">Sign in</a></p>{{end}}
{{if .SignOut}}<form method="post" action="/sign-out"><button>Sign out</button></form>{{end}}
</main>
</body>
</html>
`))

func (g *Gate) render(w http.ResponseWriter, status int, p page) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = pages.Execute(w, p) // on error, the client has gone
}

// signInPage offers the ways to sign in.
func (g *Gate) signInPage(w http.ResponseWriter, r *http.Request) {
	text := ""
	if r.URL.Query().Has("out") {
		text = "You are signed out."
	}
	g.offer(w, r, http.StatusOK, text, false)
}

func (g *Gate) offer(w http.ResponseWriter, r *http.Request, status int, text string, alert bool) {
	ru := g.rules()
	p := page{Title: "Sign in", Text: text, To: local(r.FormValue("to")), Tokens: len(ru.tokens) > 0, Alert: alert}
	if ru.openid != nil {
		u, _ := url.Parse(ru.openid.Issuer) // it was validated
		p.OpenID = u.Hostname()
	}
	if ru.local {
		p.Text = "Open the link that Tieback prints when it starts. A link can be used once, within ten minutes; tieback run prints another one when it starts again."
	}
	g.render(w, status, p)
}

// begin starts a session and goes to the page.
func (g *Gate) begin(w http.ResponseWriter, r *http.Request, who identity, to string) {
	g.sessions.end(g.cookie(r, sessionCookie)) // a new session at each sign-in
	now, age := g.now(), g.rules().session
	g.setCookie(w, r, sessionCookie, g.sessions.add(now, who, now.Add(age)), age)
	g.log.Info("signed in", zap.String("name", who.name), zap.Stringer("from", client(r, g.rules().proxies)))
	http.Redirect(w, r, local(to), http.StatusSeeOther)
}

func (g *Gate) signInWithToken(w http.ResponseWriter, r *http.Request) {
	hash, err := g.tokenOf(r, r.PostFormValue("token"))
	switch {
	case errors.Is(err, errLimited):
		w.Header().Set("Retry-After", "60")
		g.offer(w, r, http.StatusTooManyRequests, sentence(err), true)
	case err != nil:
		g.offer(w, r, http.StatusUnauthorized, "This token is not valid. Compare it with the one that you were given.", true)
	default:
		who := identity{kind: byToken, token: hash}
		who.name = g.rules().caller(who).Name
		g.begin(w, r, who, r.PostFormValue("to"))
	}
}

// signOut ends the session.
func (g *Gate) signOut(w http.ResponseWriter, r *http.Request) {
	g.sessions.end(g.cookie(r, sessionCookie))
	g.setCookie(w, r, sessionCookie, "", 0)
	http.Redirect(w, r, pathSignIn+"?out", http.StatusSeeOther)
}

// Link returns the path of a one-time link: the first browser that opens it within ten minutes is signed in as the owner. It
// returns "" for a gate with an access file.
func (g *Gate) Link() string {
	if !g.rules().local {
		return ""
	}
	name := "owner"
	if u, err := user.Current(); err == nil {
		name = clean(u.Username)
	}
	now := g.now()
	return pathLink + "?once=" + g.links.add(now, identity{kind: byLink, name: name}, now.Add(linkTime))
}

func (g *Gate) followLink(w http.ResponseWriter, r *http.Request) {
	if !g.rules().local {
		g.fail(w, r, http.StatusNotFound, "This console has no one-time links.")
		return
	}
	from, once := client(r, nil), r.URL.Query().Get("once")
	if g.failures.tooMany(g.now(), from) {
		g.fail(w, r, http.StatusTooManyRequests, sentence(errLimited))
		return
	}
	link, ok := g.links.take(g.now(), once)
	if !ok {
		g.failed(from, "link")
		g.offer(w, r, http.StatusUnauthorized, "", true)
		return
	}
	g.begin(w, r, link.who, "/")
}

// start sends the browser to the provider.
func (g *Gate) start(w http.ResponseWriter, r *http.Request) {
	p := g.rules().openid
	if p == nil {
		g.fail(w, r, http.StatusNotFound, "OpenID Connect is not set up in the access file.")
		return
	}
	a := attempt{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), To: local(r.URL.Query().Get("to")), Until: g.now().Add(attemptTime)}
	to, err := p.start(a)
	if err != nil {
		g.log.Error("the OpenID provider does not answer as it should: check openid.issuer in the access file", zap.Error(err))
		g.offer(w, r, http.StatusBadGateway, "The sign-in service does not answer. Try again in a minute; if it stays so, tell the person who runs Tieback.", true)
		return
	}
	g.setCookie(w, r, attemptCookie, g.sealed(a), attemptTime)
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// callback is where the provider sends the browser back to.
func (g *Gate) callback(w http.ResponseWriter, r *http.Request) {
	p := g.rules().openid
	a, err := g.unsealed(g.cookie(r, attemptCookie))
	g.setCookie(w, r, attemptCookie, "", 0) // it is used once
	q := r.URL.Query()
	var who identity
	switch {
	case p == nil:
		err = errMismatch
	case err != nil:
	case subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(a.State)) != 1:
		err = errMismatch
	case q.Has("iss") && q.Get("iss") != p.Issuer:
		err = errMismatch
	case q.Has("error"):
		err = errors.New("the provider refused the sign-in: " + clean(q.Get("error")))
	default:
		who, err = p.finish(r.Context(), a, q.Get("code"))
	}
	switch {
	case errors.Is(err, errMismatch):
		g.sampled.Warn("sign-in refused", zap.Error(err), zap.Stringer("from", client(r, g.rules().proxies)))
		g.offer(w, r, http.StatusBadRequest, "The sign-in took too long, or was begun in another window. Start again.", true)
	case err != nil:
		g.sampled.Warn("sign-in refused", zap.Error(err), zap.Stringer("from", client(r, g.rules().proxies)))
		g.offer(w, r, http.StatusForbidden, "The sign-in service did not confirm who you are. Start again; if it stays so, tell the person who runs Tieback.", true)
	default:
		g.begin(w, r, who, a.To)
	}
}

// sealed returns an attempt as a cookie's value that the browser can neither read nor change.
func (g *Gate) sealed(a attempt) string {
	raw, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings and a time
	}
	return base64.RawURLEncoding.EncodeToString(g.seal.Seal(nil, nil, raw, []byte(attemptCookie)))
}

func (g *Gate) unsealed(cookie string) (a attempt, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil {
		return a, errMismatch
	}
	if raw, err = g.seal.Open(nil, nil, raw, []byte(attemptCookie)); err != nil {
		return a, errMismatch
	}
	if err := json.Unmarshal(raw, &a); err != nil || !g.now().Before(a.Until) {
		return attempt{}, errMismatch
	}
	return a, nil
}
