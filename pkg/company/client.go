package company

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"

	"go.yaml.in/yaml/v3"
)

// Client is an API client of Procore: an id with a secret, and its hosts. Several companies can share one.
//
//	in the companies file                Procore's term                          Name
//	──────────────────────────────────── ─────────────────────────────────────── ─────────────────
//	an item of clients, which companies  Developer Managed Service Account:      its name
//	refer to by client: name             one client for all companies in which
//	                                     the app is installed
//	client_id and client_secret[_file]   service account of one company          ""
//	in a company's entry
//
// Its fields don't change while the process runs. Its credentials may be rotated (see Watcher).
// All methods may be called concurrently.
type Client struct {
	Name     string
	APIURL   string // "": that of the settings; set if and only if LoginURL is
	LoginURL string

	owner       int64 // the company of a client without a name
	credentials atomic.Pointer[Credentials]
}

// Credentials are a client's id and secret.
type Credentials struct {
	ID     string
	Secret Secret
}

// Credentials returns the current credentials. Call it for each login.
func (c *Client) Credentials() Credentials {
	if current := c.credentials.Load(); current != nil {
		return *current
	}
	return Credentials{}
}

// String returns the client's name for messages: client acme, or the client of company 7.
func (c *Client) String() string {
	if c.Name != "" {
		return "client " + c.Name
	}
	return fmt.Sprintf("the client of company %d", c.owner)
}

func newClient(owner int64, c Credentials) *Client {
	client := &Client{owner: owner}
	client.credentials.Store(&c)
	return client
}

// replaceCredentials replaces the credentials with those of the reloaded client, and returns the names of the changed
// fields.
func (c *Client) replaceCredentials(reloaded *Client) (fields []string) {
	old, next := c.Credentials(), reloaded.Credentials()
	if old.ID != next.ID {
		fields = append(fields, "client_id")
	}
	if old.Secret != next.Secret {
		fields = append(fields, "client_secret")
	}
	if fields != nil {
		c.credentials.Store(&next)
	}
	return fields
}

// clientEntry is an item of clients.
type clientEntry struct {
	Name             string `yaml:"name"`
	ClientID         string `yaml:"client_id"`
	ClientSecret     string `yaml:"client_secret"`
	ClientSecretFile string `yaml:"client_secret_file"`
	APIURL           string `yaml:"api_url"`
	LoginURL         string `yaml:"login_url"`
}

// clientNodes are the items of clients. Each is decoded separately.
type clientNodes []yaml.Node

// clients are the named clients of a file.
type clients struct {
	valid   map[string]*Client
	invalid map[string]error // errors by name
	errs    []error          // errors of clients without a name
	used    map[string]bool
}

// parseClients validates all clients. Two clients with the same name are both invalid.
func parseClients(nodes clientNodes, read reader) *clients {
	cs := &clients{valid: map[string]*Client{}, invalid: map[string]error{}, used: map[string]bool{}}
	for i := range nodes {
		e, malformed, unknown := decode[clientEntry](&nodes[i], "a client")
		c, err := (*Client)(nil), malformed
		if malformed == nil {
			c, err = e.client(read)
		}
		err = errors.Join(unknown, err)
		if err == nil && (cs.valid[e.Name] != nil || cs.invalid[e.Name] != nil) {
			err = errors.New("name: another client has the same name; each name must be unique")
		}
		switch {
		case err == nil:
			cs.valid[c.Name] = c
		case e.Name == "":
			cs.errs = append(cs.errs, fmt.Errorf("clients[%d]: %w", i, err))
		default:
			cs.invalid[e.Name] = errors.Join(cs.invalid[e.Name], fmt.Errorf("clients[%d]: %w", i, err))
			delete(cs.valid, e.Name)
		}
	}
	return cs
}

// get returns the client that a company refers to.
func (cs *clients) get(name string) (*Client, error) {
	cs.used[name] = true
	if err := cs.invalid[name]; err != nil {
		return nil, fmt.Errorf("client: it is invalid: %w", err)
	}
	if c := cs.valid[name]; c != nil {
		return c, nil
	}
	return nil, errors.New("client: there is no client of this name in the list clients")
}

// unusedErrors returns the errors of clients that no company refers to. The errors of the other clients are part of their
// companies' errors.
func (cs *clients) unusedErrors() []error {
	errs := cs.errs
	for name, err := range cs.invalid {
		if !cs.used[name] {
			errs = append(errs, err)
		}
	}
	return errs
}

var clientName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// ValidClientName reports whether a client may have this name: 1 to 40 characters of a-z, 0-9 and -.
func ValidClientName(name string) bool { return clientName.MatchString(name) }

func (e clientEntry) client(read reader) (*Client, error) {
	var errs []error
	fail := func(field, why string) { errs = append(errs, fmt.Errorf("%s: %s", field, why)) }
	switch {
	case e.Name == "":
		fail("name", "is missing: companies refer to the client by its name")
	case !ValidClientName(e.Name):
		fail("name", "may only contain a-z, 0-9 and -, and at most 40 characters")
	}
	if e.ClientID == "" {
		fail("client_id", "is missing: give the Client ID of the app in Procore's developer portal")
	}
	secret, err := inlineOrFile(read, "client_secret", e.ClientSecret, e.ClientSecretFile)
	if err != nil {
		errs = append(errs, err)
	}
	switch {
	case e.APIURL != "" && e.LoginURL == "":
		fail("login_url", "is missing: api_url and login_url belong together")
	case e.APIURL == "" && e.LoginURL != "":
		fail("api_url", "is missing: api_url and login_url belong together")
	}
	for field, value := range map[string]*string{"api_url": &e.APIURL, "login_url": &e.LoginURL} {
		if *value, err = host(*value); err != nil {
			fail(field, err.Error())
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	c := newClient(0, Credentials{ID: e.ClientID, Secret: Secret(secret)})
	c.Name, c.APIURL, c.LoginURL = e.Name, e.APIURL, e.LoginURL
	return c, nil
}

// host validates the base URL of a Procore host and removes a trailing slash; "" is valid.
func host(raw string) (string, error) {
	if raw == "" {
		return "", nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", errors.New("must be the base URL of a host, such as https://api.procoregov.com")
	}
	return strings.TrimRight(raw, "/"), nil
}
