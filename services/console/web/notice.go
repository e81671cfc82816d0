package web

import (
	"crypto/rand"
	"sync"
	"time"

	"context"

	v1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/access"
)

// notice is the result of an action, which the page after it shows.
type notice struct {
	Failed bool
	Text   string
	Lines  []noticeLine
	More   int // lines that are left out
}

type noticeLine struct{ Text, Link, LinkText string }

const (
	noticeTime = 10 * time.Minute
	maxNotices = 1000
	maxLines   = 50
)

// notices are kept in memory for a while, each for its caller. The zero value is ready. All methods may be called
// concurrently.
type notices struct {
	mu  sync.Mutex
	all map[string]kept
}

type kept struct {
	of    string
	until time.Time
	notice
}

// add keeps a notice and returns its key.
func (n *notices) add(now time.Time, caller string, what notice) string {
	if len(what.Lines) > maxLines {
		what.Lines, what.More = what.Lines[:maxLines], len(what.Lines)-maxLines
	}
	key := rand.Text()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all == nil {
		n.all = map[string]kept{}
	}
	if len(n.all) >= maxNotices {
		for key, k := range n.all {
			if !k.until.After(now) || len(n.all) >= maxNotices {
				delete(n.all, key)
			}
		}
	}
	n.all[key] = kept{caller, now.Add(noticeTime), what}
	return key
}

// get returns the notice of a key for its caller, or nil.
func (n *notices) get(now time.Time, caller, key string) *notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	k, ok := n.all[key]
	if !ok || k.of != caller || !k.until.After(now) {
		return nil
	}
	return &k.notice
}

// names keeps the companies that a caller may see for half a minute, for the lists in forms. The zero value is ready. All
// methods may be called concurrently.
type names struct {
	mu  sync.Mutex
	all map[string]namesOf
}

type namesOf struct {
	until time.Time
	list  []choice
}

// choice is an entry of a list in a form.
type choice struct{ Value, Label string }

const (
	maxNames   = 1000 // callers
	maxChoices = 300  // companies; of more, the form takes an id
)

// companies returns the companies of the caller, or none if they are too many or not known.
func (s *site) companies(ctx context.Context) []choice {
	key, now := access.From(ctx).String(), s.now()
	s.names.mu.Lock()
	k, ok := s.names.all[key]
	s.names.mu.Unlock()
	if ok && now.Before(k.until) {
		return k.list
	}
	res, err := s.api.Companies.ListCompanies(ctx, &v1.ListCompaniesRequest{})
	if err != nil {
		return nil // the form takes an id
	}
	k = namesOf{until: now.Add(30 * time.Second)}
	if len(res.GetCompanies()) <= maxChoices {
		for _, c := range res.GetCompanies() {
			k.list = append(k.list, choice{id(c.GetId()), cut(80, visible(companyName(c.GetId(), c.GetName())))})
		}
	}
	s.names.mu.Lock()
	defer s.names.mu.Unlock()
	if s.names.all == nil || len(s.names.all) >= maxNames {
		s.names.all = map[string]namesOf{}
	}
	s.names.all[key] = k
	return k.list
}
