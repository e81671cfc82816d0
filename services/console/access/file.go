package access

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tieback/tieback/pkg/secretfile"
	"github.com/tieback/tieback/pkg/tokenhash"
)

// File is the access file. It has no secret: tokens are hashes (printf %s TOKEN | sha256sum), and client_secret_file is a path.
//
//	public_url: https://tieback.example.com      # as browsers see the console; required with openid
//	session: 8h                                  # 10s to 720h; the default is 8h
//	proxies: [10.0.0.0/8]                        # their X-Forwarded-For names the client; the default is none
//	openid:
//	  issuer: https://login.example.com
//	  client_id: tieback
//	  client_secret_file: /run/secrets/openid    # not needed for a public client
//	  scopes: [email, groups]                    # beside openid; the default is email and profile
//	  name_claim: email                          # recorded with what the person does; the default is email
//	  role_claim: groups                         # a text or a list of texts in the ID token; the default is groups
//	  roles:
//	    - {value: tieback-operators, role: operator, companies: all, payloads: true}
//	    - {value: acme-accounting, role: viewer, companies: [598134325841112]}
//	tokens:
//	  - {name: reporting, token_sha256: [9f86d0…], role: viewer, companies: all}
//
// A person has all roles that a value of the claim is mapped to. A token has one hash, or two during a rotation.
type File struct {
	PublicURL string        `yaml:"public_url"`
	Session   time.Duration `yaml:"session"`
	Proxies   []string      `yaml:"proxies"`
	OpenID    *OpenID       `yaml:"openid"`
	Tokens    []Token       `yaml:"tokens"`
}

// OpenID is the provider and its roles.
type OpenID struct {
	Issuer           string   `yaml:"issuer"`
	ClientID         string   `yaml:"client_id"`
	ClientSecretFile string   `yaml:"client_secret_file"`
	Scopes           []string `yaml:"scopes"`
	NameClaim        string   `yaml:"name_claim"`
	RoleClaim        string   `yaml:"role_claim"`
	Roles            []Mapped `yaml:"roles"`
}

// Mapped gives a role to the people with a value of the role claim.
type Mapped struct {
	Value string `yaml:"value"`
	Given `yaml:",inline"`
}

// Token is the token of a program or a person.
type Token struct {
	Name   string   `yaml:"name"`
	Hashes []string `yaml:"token_sha256"`
	Given  `yaml:",inline"`
}

// Given is a grant, as in the file.
type Given struct {
	Role      Role      `yaml:"role"`
	Companies Companies `yaml:"companies"`
	Payloads  bool      `yaml:"payloads"`
}

// Companies are all, or a list of ids.
type Companies struct {
	All bool
	IDs []int64
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (c *Companies) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Value == "all" {
		c.All = true
		return nil
	}
	if n.Kind != yaml.SequenceNode || n.Decode(&c.IDs) != nil || slices.ContainsFunc(c.IDs, func(id int64) bool { return id <= 0 }) {
		return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: companies must be all, or a list of ids in Procore such as [598134325841112]", n.Line)}}
	}
	return nil
}

func (g Given) grant() Grant {
	return Grant{Role: g.Role, All: g.Companies.All, Companies: g.Companies.IDs, Payloads: g.Payloads}
}

// rules are a valid file. They are not changed.
type rules struct {
	base    *url.URL // public_url; nil: not given
	session time.Duration
	proxies []netip.Prefix
	openid  *provider // nil: not offered
	tokens  []token
	protect *http.CrossOriginProtection
	local   bool // one-time links, on loopback only; there is no file
}

type token struct {
	name   string
	hashes []tokenhash.Hash
	grant  Grant
}

const defaultSession = 8 * time.Hour

// minSession is so short for tests only: whoever reads a page for longer signs in again for each action.
const minSession = 10 * time.Second

func localRules() *rules {
	return &rules{session: defaultSession, local: true, protect: http.NewCrossOriginProtection()}
}

// read reads a file and the files that it names. sum is a fingerprint of all content and errors.
func read(path string) (r *rules, sum [sha256.Size]byte, err error) {
	h := sha256.New()
	from := func(path string) ([]byte, error) {
		raw, err := secretfile.ReadSecret(path)
		fmt.Fprintf(h, "%q %d %v\n", path, len(raw), err)
		h.Write(raw)
		return raw, err
	}
	raw, err := from(path)
	if err == nil {
		r, err = parse(raw, from)
	}
	if err != nil {
		err = fmt.Errorf("access file %s: %w", path, err)
	}
	h.Sum(sum[:0])
	return r, sum, err
}

// parse validates a file. It returns all errors at once, each with its line.
func parse(raw []byte, from func(string) ([]byte, error)) (*rules, error) {
	var f File
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, plain(err)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(raw, &root); err != nil {
		return nil, plain(err)
	}
	c := &checker{root: &root, from: from, r: &rules{session: defaultSession, protect: http.NewCrossOriginProtection()}}
	c.file(f)
	return c.r, errors.Join(c.errs...)
}

// checker validates a file.
type checker struct {
	root *yaml.Node
	from func(string) ([]byte, error)
	r    *rules
	errs []error
}

// fail records an error at a place in the file, a sequence of names and indexes.
func (c *checker) fail(text string, at ...any) {
	line, name := c.root.Line, ""
	n := c.root
	if len(n.Content) > 0 {
		n = n.Content[0]
	}
	for _, key := range at {
		next := (*yaml.Node)(nil)
		switch key := key.(type) {
		case string:
			name += "." + key
			for i := 0; n != nil && n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == key {
					next = n.Content[i+1]
					line = n.Content[i].Line
				}
			}
		case int:
			name += fmt.Sprintf("[%d]", key)
			if n != nil && n.Kind == yaml.SequenceNode && key < len(n.Content) {
				next = n.Content[key]
				line = next.Line
			}
		}
		if n = next; n != nil && n.Kind == yaml.AliasNode {
			n = n.Alias
		}
	}
	c.errs = append(c.errs, fmt.Errorf("line %d: %s: %s", max(line, 1), strings.TrimPrefix(name, "."), text))
}

func (c *checker) file(f File) {
	if f.OpenID == nil && len(f.Tokens) == 0 {
		c.fail("is missing, and tokens too: with neither, no one can sign in", "openid")
	}
	if f.PublicURL != "" {
		u, err := url.Parse(f.PublicURL)
		switch {
		case err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
			c.fail("must be the base URL of a host, for example https://tieback.example.com", "public_url")
		case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Host)):
			c.fail("must begin with https://, as session cookies are sent to it", "public_url")
		default:
			c.r.base = &url.URL{Scheme: u.Scheme, Host: u.Host}
			if err := c.r.protect.AddTrustedOrigin(c.r.base.String()); err != nil {
				c.fail("is not an origin of a browser", "public_url")
			}
		}
	} else if f.OpenID != nil {
		c.fail("is missing: the provider sends people back to it", "public_url")
	}
	if f.Session != 0 {
		if f.Session < minSession || f.Session > 720*time.Hour {
			c.fail("must be between 10s and 720h", "session")
		}
		c.r.session = f.Session
	}
	for i, text := range f.Proxies {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			c.fail("must be a range of addresses, for example 10.0.0.0/8", "proxies", i)
		}
		c.r.proxies = append(c.r.proxies, p.Masked())
	}
	for i, t := range f.Tokens {
		c.token(i, t)
	}
	if f.OpenID != nil {
		c.openid(*f.OpenID)
	}
}

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$`)

func (c *checker) token(i int, t Token) {
	at := func(name string) []any { return []any{"tokens", i, name} }
	if !tokenName.MatchString(t.Name) {
		c.fail("must be 1 to 64 letters, digits, spaces and . _ -", at("name")...)
	}
	if slices.ContainsFunc(c.r.tokens, func(other token) bool { return other.name == t.Name }) {
		c.fail("another token has this name", at("name")...)
	}
	if len(t.Hashes) < 1 || len(t.Hashes) > 2 {
		c.fail(fmt.Sprintf("needs one hash, or two during a rotation; there are %d", len(t.Hashes)), at("token_sha256")...)
	}
	k := token{name: t.Name, grant: t.grant()}
	for _, text := range t.Hashes {
		raw, err := hex.DecodeString(text)
		if err != nil || len(raw) != sha256.Size { // never quoted: it may be the token itself
			c.fail("is not a SHA-256 in hex: printf %s TOKEN | sha256sum", at("token_sha256")...)
			continue
		}
		hash := tokenhash.Hash(raw)
		if hash == tokenhash.Of("") {
			c.fail("is the hash of an empty token", at("token_sha256")...)
		}
		if slices.ContainsFunc(c.r.tokens, func(other token) bool { return slices.Contains(other.hashes, hash) }) {
			c.fail("another token has this hash: give each program a token of its own", at("token_sha256")...)
		}
		k.hashes = append(k.hashes, hash)
	}
	c.given(t.Given, "tokens", i)
	c.r.tokens = append(c.r.tokens, k)
}

func (c *checker) given(g Given, at ...any) {
	if g.Role != Viewer && g.Role != Operator {
		c.fail("must be viewer or operator", append(slices.Clone(at), "role")...)
	}
	if !g.Companies.All && len(g.Companies.IDs) == 0 {
		c.fail("must be all, or a list of ids", append(slices.Clone(at), "companies")...)
	}
}

func (c *checker) openid(o OpenID) {
	if u, err := url.Parse(o.Issuer); err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Host)) {
		c.fail("must be the provider's https:// address, without /.well-known", "openid", "issuer")
	}
	if o.ClientID == "" {
		c.fail("is missing: register the console at the provider", "openid", "client_id")
	}
	p := &provider{OpenID: o}
	if o.ClientSecretFile != "" {
		raw, err := c.from(o.ClientSecretFile)
		if p.secret = strings.TrimSpace(string(raw)); err != nil {
			c.fail(err.Error(), "openid", "client_secret_file")
		} else if p.secret == "" {
			c.fail("the file is empty", "openid", "client_secret_file")
		}
	}
	if o.Scopes == nil {
		p.Scopes = []string{"email", "profile"}
	}
	if o.NameClaim == "" {
		p.NameClaim = "email"
	}
	if o.RoleClaim == "" {
		p.RoleClaim = "groups"
	}
	if len(o.Roles) == 0 {
		c.fail("is missing: no one would have a role", "openid", "roles")
	}
	for i, m := range o.Roles {
		if m.Value == "" {
			c.fail("is missing: a value of the claim", "openid", "roles", i, "value")
		}
		c.given(m.Given, "openid", "roles", i)
	}
	if c.r.base != nil {
		p.redirect = c.r.base.String() + pathCallback
	}
	c.r.openid = p
}

var (
	lineOf   = regexp.MustCompile(`^line \d+: `)
	notFound = regexp.MustCompile(`^line \d+: field ([a-z_]{1,40}) not found in type `)
	twice    = regexp.MustCompile(`(?s)^line \d+: mapping key .* already defined at (line \d+)$`)
	ours     = regexp.MustCompile(`^line \d+: companies must be `)
	quoted   = regexp.MustCompile("(?s)`.*`|'.*'|\".*\"")
)

// plain returns the YAML package's error with its lines and without values: one may be a token in the wrong place.
func plain(err error) error {
	var typed *yaml.TypeError
	if !errors.As(err, &typed) {
		return errors.New(quoted.ReplaceAllString(err.Error(), "[value]"))
	}
	var errs []error
	for _, text := range typed.Errors {
		line := lineOf.FindString(text)
		if m := notFound.FindStringSubmatch(text); m != nil {
			text = line + m[1] + " is not a field of this part of the file"
		} else if m := twice.FindStringSubmatch(text); m != nil {
			text = line + "a field that is already at " + m[1]
		} else if !ours.MatchString(text) {
			text = line + "a value of another kind is expected"
		}
		errs = append(errs, errors.New(text))
	}
	return errors.Join(errs...)
}
