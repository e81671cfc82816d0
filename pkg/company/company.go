// Package company reads the companies file: which Procore companies are connected,
// with which credentials and which ERP. See docs/configuration.md.
package company

import (
	"sync/atomic"
	"time"
	_ "time/tzdata" // distroless images have no time zones

	"github.com/tieback/tieback/pkg/webhooks"
)

// Secret is a value that prints as "[secret]" wherever it strays.
type Secret string

func (Secret) String() string { return "[secret]" }

// GoString keeps a secret out of %#v.
func (Secret) GoString() string { return "[secret]" }

// MarshalText keeps a secret out of encoders, zap's included.
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Company is one connected Procore company, validated. Its fields stay as they are while the
// process runs; its secrets may be rotated meanwhile (see Watcher), so ask for them anew for
// each use and keep none. All methods may be called concurrently.
type Company struct {
	ID                     int64
	Name                   string
	StandardCostCodeListID int64 // 0: not known; standard cost codes can't be synced
	Driver                 string
	URL                    string         // ingest's public base, https://host; "": not known. Procore delivers to it
	MetadataFile           string         // laid over the ERP metadata that is told to Procore; "": none
	WebhookNamespace       string         // of our hook in Procore; "": tieback
	RemoveOnReset          bool           // a reset of master data takes it out of the ERP; false: the ERP keeps it
	Zone                   *time.Location // in which an instant becomes a date, and in which people read times; never nil, UTC by default
	Since                  time.Time      // ERP requests that Procore created before it are not ours: see InScope; zero: all are

	Client *Client // by which its calls of Procore are made; never nil

	secrets atomic.Pointer[secrets] // replaced whole, never changed
}

// Secrets are all of a company that is rotated.
type Secrets struct {
	ClientID      string // of a client of its own
	ClientSecret  Secret
	WebhookTokens []string          // one, or two while rotating
	Settings      map[string]string // the driver's own, secrets resolved
}

// secrets are Secrets as they are kept: of a webhook token only the hash.
type secrets struct {
	tokens   []webhooks.Hash
	settings map[string]string
}

// New makes a company that is in no file, with a client of its own, for tests; its other fields may be set before it
// is shared.
func New(id int64, s Secrets) *Company {
	c := &Company{ID: id, Zone: time.UTC, Client: newClient(id, Credentials{ID: s.ClientID, Secret: s.ClientSecret})}
	c.secrets.Store(s.kept())
	return c
}

func (s Secrets) kept() *secrets {
	k := &secrets{settings: s.Settings}
	for _, t := range s.WebhookTokens {
		k.tokens = append(k.tokens, webhooks.HashOf(t))
	}
	return k
}

// Authentic says whether token is one of the company's webhook tokens, in constant time.
// Only the tokens' hashes are kept. On a nil company it does the same work and says no,
// so that an unknown company can't be told from a wrong token.
func (c *Company) Authentic(token string) bool {
	return webhooks.Match(c.TokenHashes(), token)
}

// TokenHashes are the hashes of the company's webhook tokens; none of a nil company.
func (c *Company) TokenHashes() []webhooks.Hash {
	if c == nil {
		return nil
	}
	return c.now().tokens
}

// Settings are those of the company's driver as they are now, secrets resolved. The map is
// never changed: leave it as it is. A rotation makes another.
func (c *Company) Settings() map[string]string { return c.now().settings }

var noSecrets = &secrets{}

// now is never nil: a company made without secrets has empty ones.
func (c *Company) now() *secrets {
	if s := c.secrets.Load(); s != nil {
		return s
	}
	return noSecrets
}

// Set is all connected companies, by id.
type Set map[int64]*Company

// Authentic reports whether token is one of a company's webhook tokens; see Company.Authentic.
func (s Set) Authentic(company int64, token string) bool { return s[company].Authentic(token) }

// Webhooks are the hashes of all companies' webhook tokens, as ingest reads them.
func (s Set) Webhooks() webhooks.Hashes {
	all := webhooks.Hashes{}
	for id, c := range s {
		all[id] = c.TokenHashes()
	}
	return all
}
