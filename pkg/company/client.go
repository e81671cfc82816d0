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

// Client is an API client of Procore: an id with a secret, and the hosts that it is for. Several companies can
// have the same one.
//
//	in the companies file                Procore calls it                        Name
//	──────────────────────────────────── ─────────────────────────────────────── ─────────────────
//	an item of clients, which companies  Developer Managed Service Account:      its name
//	refer to by client: name             one client for all companies where
//	                                     the app is installed
//	client_id and client_secret[_file]   service account of one company          "", its company's
//	in a company's entry
//
// Its fields stay as they are while the process runs; its credentials may be rotated meanwhile (see Watcher).
// All methods may be called concurrently.
type Client struct {
	Name     string
	APIURL   string // "": the environment's, as for LoginURL. Either both are set or none
	LoginURL string

	owner       int64 // of a client without a name: its company
	credentials atomic.Pointer[Credentials]
}

// Credentials are a client's id and secret.
type Credentials struct {
	ID     string
	Secret Secret
}

// Credentials returns the credentials as they are now. Ask for them for each login.
func (c *Client) Credentials() Credentials {
	if now := c.credentials.Load(); now != nil {
		return *now
	}
	return Credentials{}
}

// String names the client for people: client acme, or the client of company 7.
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

// take replaces the credentials by those of now, and names the fields that changed.
func (c *Client) take(now *Client) (fields []string) {
	old, next := c.Credentials(), now.Credentials()
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

// differs names the fields that differ and that change with a restart only.
func (c *Client) differs(now *Client) (fields []string) {
	switch {
	case c.Name != now.Name:
		return []string{"client"}
	case c.APIURL != now.APIURL:
		fields = append(fields, "client.api_url")
	}
	if c.LoginURL != now.LoginURL {
		fields = append(fields, "client.login_url")
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

// clientNodes are the items of clients; each is decoded by itself.
type clientNodes []yaml.Node

// clients are the named clients of a file.
type clients struct {
	right map[string]*Client
	wrong map[string]error // those with a mistake
	errs  []error          // mistakes of those without a name
	used  map[string]bool
}

// parseClients validates all clients. Of two with the same name neither is right.
func parseClients(nodes clientNodes, read reader) *clients {
	cs := &clients{right: map[string]*Client{}, wrong: map[string]error{}, used: map[string]bool{}}
	for i := range nodes {
		e, senseless, strange := decode[clientEntry](&nodes[i], "a client")
		c, err := (*Client)(nil), senseless
		if senseless == nil {
			c, err = e.client(read)
		}
		err = errors.Join(strange, err)
		if err == nil && (cs.right[e.Name] != nil || cs.wrong[e.Name] != nil) {
			err = errors.New("name: another client has it; give each a name of its own")
		}
		switch {
		case err == nil:
			cs.right[c.Name] = c
		case e.Name == "":
			cs.errs = append(cs.errs, fmt.Errorf("clients[%d]: %w", i, err))
		default:
			cs.wrong[e.Name] = errors.Join(cs.wrong[e.Name], fmt.Errorf("clients[%d]: %w", i, err))
			delete(cs.right, e.Name)
		}
	}
	return cs
}

// get returns the client that a company refers to.
func (cs *clients) get(name string) (*Client, error) {
	cs.used[name] = true
	if err := cs.wrong[name]; err != nil {
		return nil, fmt.Errorf("client: it has a mistake: %w", err)
	}
	if c := cs.right[name]; c != nil {
		return c, nil
	}
	return nil, errors.New("client: there is no client of this name in the list clients")
}

// unused are the mistakes of clients that no company refers to; the others are part of their companies' errors.
func (cs *clients) unused() []error {
	errs := cs.errs
	for name, err := range cs.wrong {
		if !cs.used[name] {
			errs = append(errs, err)
		}
	}
	return errs
}

var clientName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// ValidClientName reports whether a client may have this name: 1 to 40 of a-z, 0-9 and -.
func ValidClientName(name string) bool { return clientName.MatchString(name) }

func (e clientEntry) client(read reader) (*Client, error) {
	var errs []error
	fail := func(field, why string) { errs = append(errs, fmt.Errorf("%s: %s", field, why)) }
	switch {
	case e.Name == "":
		fail("name", "is missing: companies refer to the client by it")
	case !ValidClientName(e.Name):
		fail("name", "may hold a-z, 0-9 and - only, at most 40")
	}
	if e.ClientID == "" {
		fail("client_id", "is missing: the Client ID of the app in Procore's developer portal")
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

// host checks the base of a host of Procore's and removes a slash at its end; "" is valid.
func host(raw string) (string, error) {
	if raw == "" {
		return "", nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", errors.New("must be a host's base, such as https://api.procoregov.com")
	}
	return strings.TrimRight(raw, "/"), nil
}
