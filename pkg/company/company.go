// Package company reads, watches and edits the companies file: the connected Procore companies with their credentials and their
// ERPs. See docs/configuration.md.
package company

import (
	"sync/atomic"
	"time"
	_ "time/tzdata" // distroless images have no time zones

	"github.com/tieback/tieback/pkg/tokenhash"
)

// Secret is a string that prints as "[secret]".
type Secret string

func (Secret) String() string { return "[secret]" }

// GoString keeps the secret out of %#v.
func (Secret) GoString() string { return "[secret]" }

// MarshalText keeps the secret out of encoders, including zap's.
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Company is a connected Procore company. Its fields don't change while the process runs. Its secrets may be rotated (see
// Watcher), so callers must read them for each use and not keep them. All methods may be called concurrently.
type Company struct {
	ID                     int64
	Name                   string
	StandardCostCodeListID int64 // 0: not configured; standard cost codes can't be synced
	Driver                 string
	URL                    string         // the public base URL of ingest, https://host, to which Procore delivers; "": not configured
	MetadataFile           string         // overrides parts of the ERP metadata that is sent to Procore; "": none
	WebhookNamespace       string         // of Tieback's hook in Procore; "": tieback
	RemoveOnReset          bool           // a reset of master data removes it from the ERP; false: the ERP keeps it
	Zone                   *time.Location // time zone for the date of a time, and for times in messages; never nil, UTC by default
	Since                  time.Time      // ERP requests that Procore created earlier are not processed: see InScope; zero: all are processed

	Client *Client // for its calls to Procore; never nil

	secrets atomic.Pointer[hashedSecrets] // replaced as a whole, never modified
}

// Secrets are the secrets of a company, all of which can be rotated.
type Secrets struct {
	ClientID      string // of the company's own client
	ClientSecret  Secret
	WebhookTokens []string          // one, or two during a rotation
	Settings      map[string]string // the driver's settings, with the content of secret files
}

// hashedSecrets are the secrets that a Company keeps: of the webhook tokens only the hashes.
type hashedSecrets struct {
	tokens   []tokenhash.Hash
	settings map[string]string
}

// New returns a company that is not in a file, with its own client, for tests. Its other fields may be set
// before it is shared.
func New(id int64, s Secrets) *Company {
	c := &Company{ID: id, Zone: time.UTC, Client: newClient(id, Credentials{ID: s.ClientID, Secret: s.ClientSecret})}
	c.secrets.Store(s.hashed())
	return c
}

func (s Secrets) hashed() *hashedSecrets {
	k := &hashedSecrets{settings: s.Settings}
	for _, t := range s.WebhookTokens {
		k.tokens = append(k.tokens, tokenhash.Of(t))
	}
	return k
}

// Authentic reports whether token is one of the company's webhook tokens, in constant time. For a nil company it does the same
// work and returns false, so that a caller can't distinguish an unknown company from a wrong token.
func (c *Company) Authentic(token string) bool {
	var hashes []tokenhash.Hash
	if c != nil {
		hashes = c.current().tokens
	}
	return tokenhash.Match(hashes, token)
}

// Settings returns the current settings of the company's driver, with the content of secret files. Callers
// must not change the map. A rotation replaces it.
func (c *Company) Settings() map[string]string { return c.current().settings }

var noSecrets = &hashedSecrets{}

// current never returns nil: a company without secrets has empty ones.
func (c *Company) current() *hashedSecrets {
	if s := c.secrets.Load(); s != nil {
		return s
	}
	return noSecrets
}

// InScope reports whether Tieback processes an ERP request that Procore created at the given time. Requests created before
// Since are out of scope. Since is truncated to seconds, as created_at is. A zero (unknown) time is in scope. For a nil
// Company every time is in scope.
func (c *Company) InScope(created time.Time) bool {
	return c == nil || c.Since.IsZero() || created.IsZero() || !created.Before(c.Since)
}

// Set is a set of companies by id.
type Set map[int64]*Company

// Authentic reports whether token is one of a company's webhook tokens; see Company.Authentic.
func (s Set) Authentic(company int64, token string) bool { return s[company].Authentic(token) }

// WebhookTokenHashes returns the hashes of all companies' webhook tokens, as ingest reads them.
func (s Set) WebhookTokenHashes() tokenhash.Hashes {
	all := tokenhash.Hashes{}
	for id, c := range s {
		all[id] = c.current().tokens
	}
	return all
}
