package procore

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/tieback/tieback/pkg/company"
)

// Store publishes, for other processes to show, what this one knows of Procore: the rest of a company's rate limits, and the
// refusal of a client's credentials. No call depends on it. bus.Quota implements it. Its methods may be called concurrently.
// Values are sealed (see seal), so a Store need not be protected from writers other than these processes.
type Store interface {
	// Read returns a key's value, nil if there is none, and the revision to pass to Swap.
	Read(ctx context.Context, key string) (value []byte, revision uint64, err error)
	// Swap writes a value if the key still has the revision, and returns the new one. It returns ok false if another
	// process has written the key.
	Swap(ctx context.Context, key string, value []byte, revision uint64) (next uint64, ok bool, err error)
}

const (
	// storeTimeout bounds one exchange with the store.
	storeTimeout = time.Second
	// publishInterval is the shortest time between two publications of a client's limits by one process.
	publishInterval = 5 * time.Second
)

// LimitStatus is the rest of a company's rate limits, as the process that called Procore last knows it. Times are by its clock.
type LimitStatus struct {
	Hour    Quota     `json:"hour,omitzero"`    // Limit 0: not known. Reset zero: the window is over, so all calls are left
	Spike   Quota     `json:"spike,omitzero"`   // likewise
	Blocked time.Time `json:"blocked,omitzero"` // no call is made until then, because Procore asked for it; zero: not blocked
}

// published is the value of a client in a Store.
type published struct {
	Client    LimitStatus           `json:"client"`              // if the companies share the limits
	Companies map[int64]LimitStatus `json:"companies,omitempty"` // by company, if each has its own limits
}

// StoreKey is the key under which a Store keeps the limits of a company's client. client is its name; "": it
// is the company's own.
func StoreKey(company int64, client string) string {
	if client != "" {
		return "client-" + client
	}
	return strconv.FormatInt(company, 10)
}

// ReadLimitStatus parses the value at the StoreKey of a company's client, as of now. It returns an error for a value that was
// not sealed with the client's secret.
func ReadLimitStatus(raw []byte, id int64, client *company.Client, now time.Time) (LimitStatus, error) {
	p, _, err := unseal[published](raw, StoreKey(id, client.Name), string(client.Credentials().Secret))
	if err != nil {
		return LimitStatus{}, err
	}
	s, own := p.Companies[id]
	if !own {
		s = p.Client
	}
	for _, q := range []*Quota{&s.Hour, &s.Spike} {
		if !q.Reset.After(now) {
			q.Remaining, q.Reset = q.Limit, time.Time{}
		}
	}
	if !s.Blocked.After(now) {
		s.Blocked = time.Time{}
	}
	return s, nil
}

// publisher publishes the limits of an account after they changed, at most once per publishInterval.
type publisher struct {
	account *account
	store   Store

	mu        sync.Mutex
	scheduled bool
	last      time.Time
}

// changed schedules a publication, unless one is scheduled.
func (p *publisher) changed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.scheduled {
		p.scheduled = true
		time.AfterFunc(publishInterval-time.Since(p.last), p.publish)
	}
}

// publish writes the limits. If the store fails or another process writes at the same time, the next publication follows
// the next call.
func (p *publisher) publish() {
	p.mu.Lock()
	p.scheduled, p.last = false, time.Now()
	p.mu.Unlock()
	a := p.account
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	key, secret := a.storeKey(), string(a.client.Credentials().Secret)
	old, revision, err := p.store.Read(ctx, key)
	if err != nil {
		return
	}
	next := a.limiter.status()
	if was, _, err := unseal[published](old, key, secret); err == nil { // companies that other processes have called
		for id, s := range was.Companies {
			if _, ours := next.Companies[id]; !ours && next.Companies != nil {
				next.Companies[id] = s
			}
		}
	}
	if raw, err := seal(next, key, secret, revision); err == nil {
		_, _, _ = p.store.Swap(ctx, key, raw, revision)
	}
}

// status returns the limits for publication.
func (m *limiter) status() (p published) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.binding(0, now)
	p.Client = m.client.status(now)
	if m.apart {
		p.Companies = map[int64]LimitStatus{}
		for id := range m.companies {
			p.Companies[id] = m.binding(id, now).status(now)
		}
	}
	return p
}

func (l *limits) status(now time.Time) LimitStatus {
	s := LimitStatus{Hour: l.hour.quota(l.inFlight), Spike: l.spike.quota(l.inFlight)}
	if l.blocked.After(now) {
		s.Blocked = l.blocked
	}
	return s
}
