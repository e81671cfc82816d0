package access

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"
)

// kind is how a caller signed in.
type kind int

const (
	byOpenID kind = iota + 1
	byToken
	byLink
)

// identity is who signed in. What an identity may do is looked up in the current file for each request.
type identity struct {
	kind           kind
	name           string
	issuer, client string            // of OpenID
	values         []string          // of the role claim
	token          [sha256.Size]byte // its hash
}

// session is the session of a browser.
type session struct {
	who   identity
	until time.Time
}

// maxSessions limits the sessions. More end the one that would end first.
const maxSessions = 10_000

// sessions are kept in memory: a restart ends them. The zero value is ready. All methods may be called concurrently.
type sessions struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]session // by the hash of its cookie
}

// add returns the cookie of a new session.
func (s *sessions) add(now time.Time, who identity, until time.Time) string {
	cookie := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[[sha256.Size]byte]session{}
	}
	if len(s.all) >= maxSessions {
		s.shrink(now)
	}
	s.all[sha256.Sum256([]byte(cookie))] = session{who, until}
	return cookie
}

// shrink removes what has ended, and at least one session. The caller holds mu.
func (s *sessions) shrink(now time.Time) {
	var first [sha256.Size]byte
	var at time.Time
	for id, is := range s.all {
		if !is.until.After(now) {
			delete(s.all, id)
		} else if at.IsZero() || is.until.Before(at) {
			first, at = id, is.until
		}
	}
	if len(s.all) >= maxSessions {
		delete(s.all, first)
	}
}

// get returns the session of a cookie, if it has not ended.
func (s *sessions) get(now time.Time, cookie string) (session, bool) {
	id := sha256.Sum256([]byte(cookie))
	s.mu.Lock()
	defer s.mu.Unlock()
	is, ok := s.all[id]
	if ok && !is.until.After(now) {
		delete(s.all, id)
		ok = false
	}
	return is, ok
}

// end ends the session of a cookie.
func (s *sessions) end(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sha256.Sum256([]byte(cookie)))
}

// The cookies' names. Browsers accept a cookie with the prefix __Host- only over https, from the host itself.
const (
	sessionCookie = "tieback-session"
	attemptCookie = "tieback-sign-in"
	securePrefix  = "__Host-"
)

// setCookie sets a cookie, or deletes it if the value is empty.
func (g *Gate) setCookie(w http.ResponseWriter, r *http.Request, name, value string, age time.Duration) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(age / time.Second)}
	if secure(g.rules(), r) {
		c.Name, c.Secure = securePrefix+name, true
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// cookie returns the value of a cookie that setCookie set; "": there is none.
func (g *Gate) cookie(r *http.Request, name string) string {
	if secure(g.rules(), r) {
		name = securePrefix + name
	}
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

// secure reports whether the browser uses https: always, unless it is on the same machine.
func secure(ru *rules, r *http.Request) bool {
	if ru.base != nil {
		return ru.base.Scheme == "https"
	}
	return !loopback(r.Host)
}

// take returns the session of a cookie, if it has not ended, and ends it.
func (s *sessions) take(now time.Time, cookie string) (session, bool) {
	id := sha256.Sum256([]byte(cookie))
	s.mu.Lock()
	defer s.mu.Unlock()
	is, ok := s.all[id]
	delete(s.all, id)
	return is, ok && is.until.After(now)
}
