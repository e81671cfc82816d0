package company

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // neither the images nor Windows have time zones

	"go.yaml.in/yaml/v3"

	"github.com/tieback/tieback/pkg/secretfile"
)

type file struct {
	Clients   clientNodes `yaml:"clients"`
	Companies []yaml.Node `yaml:"companies"` // of type entry
}

type entry struct {
	ID                     int64             `yaml:"id"`
	Name                   string            `yaml:"name"`
	Client                 string            `yaml:"client"`
	ClientID               string            `yaml:"client_id"`
	ClientSecret           string            `yaml:"client_secret"`
	ClientSecretFile       string            `yaml:"client_secret_file"`
	WebhookTokens          []string          `yaml:"webhook_tokens"`
	WebhookTokensFile      string            `yaml:"webhook_tokens_file"`
	StandardCostCodeListID int64             `yaml:"standard_cost_code_list_id"`
	Connector              map[string]string `yaml:"connector"`
	URL                    string            `yaml:"url"`
	MetadataFile           string            `yaml:"metadata_file"`
	WebhookNamespace       string            `yaml:"webhook_namespace"`
	TimeZone               string            `yaml:"time_zone"`
	Resets                 string            `yaml:"resets"` // keep or remove; "": keep
	Since                  string            `yaml:"since"`
}

// reader reads a file, as secretfile.Read does. A Watcher has a reader that also hashes what it reads.
type reader func(path string) ([]byte, error)

// Load reads the companies file at path. It returns the valid companies, and an error for each entry that has a mistake. err
// is set if the file can't be read, is malformed, or has no valid company. The errors name the company and the field, and
// contain no value.
func Load(path string) (valid Set, mistakes []error, err error) {
	if path == "" {
		return nil, nil, errPathNotSet
	}
	raw, err := secretfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("companies file: %w (TIEBACK_COMPANIES; tieback setup creates it)", err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("companies file: %w", err)
	}
	p := parse(raw, secretfile.Read)
	if p.err != nil || len(p.set) == 0 {
		return nil, nil, fmt.Errorf("companies file %s: %w", path, p.allErrors())
	}
	return p.set, p.errs, nil
}

var errPathNotSet = errors.New("TIEBACK_COMPANIES is not set: set it to the path of the companies file")

// Files returns the paths of the companies file at path and of the secret files that it names, each once, as far as the file
// can be parsed.
func Files(path string) []string {
	paths := []string{path}
	read := func(path string) ([]byte, error) {
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
		return secretfile.Read(path)
	}
	if raw, err := secretfile.Read(path); err == nil {
		parse(raw, read)
	}
	return paths
}

// Parse validates the content of a companies file. A mistake in any entry is an error; see Load for the errors.
func Parse(raw []byte) (Set, error) {
	p := parse(raw, secretfile.Read)
	return p.set, p.allErrors()
}

// parsed is a companies file, as far as it is valid.
type parsed struct {
	set     Set            // the valid companies
	invalid map[int64]bool // ids of the invalid companies; 0: one without an id
	errs    []error        // one for each invalid company, and for each invalid client that no company uses
	err     error          // the file can't be parsed: set is empty
}

func (p parsed) allErrors() error { return errors.Join(append(p.errs, p.err)...) }

func parse(raw []byte, read reader) parsed {
	var f file
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return parsed{err: inPlainWords(err)}
	}
	if len(f.Companies) == 0 {
		return parsed{err: errors.New("companies: the list is empty; add at least one company")}
	}
	p := parsed{set: make(Set, len(f.Companies)), invalid: map[int64]bool{}}
	cs := parseClients(f.Clients, read)
	for i := range f.Companies {
		p.add(i, &f.Companies[i], read, cs)
	}
	p.errs = append(p.errs, cs.unusedErrors()...)
	return p
}

// add adds one company. Two companies with the same id are both invalid.
func (p *parsed) add(i int, n *yaml.Node, read reader, cs *clients) {
	e, malformed, unknown := decode[entry](n, "a company")
	c, err := (*Company)(nil), malformed
	if malformed == nil {
		c, err = e.company(read, cs, e.tokens)
	}
	err = errors.Join(unknown, err)
	if err == nil && (p.set[e.ID] != nil || p.invalid[e.ID]) {
		err = fmt.Errorf("id: company %d is listed twice", e.ID)
	}
	if err != nil {
		p.errs = append(p.errs, fmt.Errorf("companies[%d]: %w", i, err))
		p.invalid[e.ID] = true
		delete(p.set, e.ID)
		return
	}
	p.set[c.ID] = c
}

// company validates the entry. tokensOf returns the webhook tokens. It is a parameter because an entry that is being set up has
// none yet; see Entry.Company.
func (e entry) company(read reader, cs *clients, tokensOf func(reader) ([]string, error)) (*Company, error) {
	var errs []error
	fail := func(field, why string) { errs = append(errs, fmt.Errorf("%s: %s", field, why)) }
	if e.ID <= 0 {
		fail("id", "must be the company's id in Procore, a positive number")
	}
	client, err := e.client(read, cs)
	if err != nil {
		errs = append(errs, err)
	}
	tokens, err := tokensOf(read)
	if err != nil {
		errs = append(errs, err)
	}
	settings, err := resolve(read, e.Connector)
	if err != nil {
		errs = append(errs, err)
	}
	zone, err := ParseZone(e.TimeZone)
	if err != nil {
		errs = append(errs, fmt.Errorf("time_zone: %w", err))
	}
	if e.Resets != "" && e.Resets != "keep" && e.Resets != "remove" {
		fail("resets", "must be keep (the ERP keeps records that a super user resets in Procore) or remove")
	}
	since, err := ParseSince(e.Since)
	if err != nil {
		errs = append(errs, fmt.Errorf("since: %w", err))
	}
	driver := settings["driver"]
	if driver == "" {
		fail("connector.driver", "is missing: give the ERP of this company, for example ledger")
	}
	delete(settings, "driver")
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	c := New(e.ID, Secrets{WebhookTokens: tokens, Settings: settings})
	c.Client, c.Name, c.StandardCostCodeListID, c.Driver = client, e.Name, e.StandardCostCodeListID, driver
	c.URL, c.MetadataFile, c.WebhookNamespace, c.Zone = e.URL, e.MetadataFile, e.WebhookNamespace, zone
	c.RemoveOnReset = e.Resets == "remove"
	c.Since = since
	return c, nil
}

// client returns the named client that the entry refers to, or the entry's own client.
func (e entry) client(read reader, cs *clients) (*Client, error) {
	own := e.ClientID != "" || e.ClientSecret != "" || e.ClientSecretFile != ""
	switch {
	case e.Client != "" && own:
		return nil, errors.New("client: give either client, or client_id with client_secret_file")
	case e.Client != "":
		return cs.get(e.Client)
	}
	var errs []error
	if e.ClientID == "" {
		errs = append(errs, errors.New("client_id: is missing: give the Client ID of the company's service account, or set client to the name of an item of clients"))
	}
	secret, err := inlineOrFile(read, "client_secret", e.ClientSecret, e.ClientSecretFile)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	return newClient(e.ID, Credentials{ID: e.ClientID, Secret: Secret(secret)}), nil
}

func (e entry) tokens(read reader) ([]string, error) {
	tokens := e.WebhookTokens
	if e.WebhookTokensFile != "" {
		if len(tokens) > 0 {
			return nil, errors.New("webhook_tokens: give either webhook_tokens or webhook_tokens_file")
		}
		raw, err := read(e.WebhookTokensFile)
		if err != nil {
			return nil, fmt.Errorf("webhook_tokens_file: %w", withoutPath(e.WebhookTokensFile, err))
		}
		if err := secretfile.Check(raw); err != nil {
			return nil, fmt.Errorf("webhook_tokens_file: %w", err)
		}
		tokens = strings.Fields(string(raw))
	}
	return tokens, validTokens(tokens)
}

func validTokens(tokens []string) error {
	if len(tokens) < 1 || len(tokens) > 2 {
		return fmt.Errorf("webhook_tokens: needs one token, or two during a rotation; there are %d", len(tokens))
	}
	for _, t := range tokens {
		if len(t) < 16 {
			return errors.New("webhook_tokens: a token needs at least 16 characters")
		}
	}
	return nil
}

// resolve returns the connector's settings. It replaces each setting NAME_file by NAME with the content of the file.
func resolve(read reader, settings map[string]string) (map[string]string, error) {
	out := make(map[string]string, len(settings))
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		plain, isFile := strings.CutSuffix(name, "_file")
		if !isFile {
			out[name] = settings[name]
			continue
		}
		resolved, err := inlineOrFile(read, "connector."+plain, settings[plain], settings[name])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out[plain] = resolved
	}
	return out, errors.Join(errs...)
}

// withoutPath returns why a file can't be read. It removes a relative path, because that may be a secret in
// the wrong field.
func withoutPath(path string, err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) && !filepath.IsAbs(path) {
		return fmt.Errorf("it must be the path of a readable file: %w", pathErr.Err)
	}
	return err
}

// inlineOrFile returns the value of a field that may be given inline or as the path of a file.
func inlineOrFile(read reader, field, inline, path string) (string, error) {
	switch {
	case inline != "" && path != "":
		return "", fmt.Errorf("%s: give either %s or %s_file", field, field, field)
	case inline != "":
		return inline, nil
	case path == "":
		return "", fmt.Errorf("%s: is missing: give it, or %s_file with the path of a file", field, field)
	}
	raw, err := read(path)
	if err != nil {
		return "", fmt.Errorf("%s_file: %w", field, withoutPath(path, err))
	}
	if err := secretfile.Check(raw); err != nil {
		return "", fmt.Errorf("%s_file: %w", field, err)
	}
	secret := strings.TrimSpace(string(raw))
	if secret == "" {
		return "", fmt.Errorf("%s_file: %s is empty", field, path)
	}
	return secret, nil
}

// ParseZone returns the time zone of an IANA name, such as America/Chicago; "" is UTC. The error does not
// contain the name: in a companies file it may be a secret in the wrong field.
func ParseZone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" { // the zone Local depends on the machine
		return nil, errors.New("must be the IANA name of a time zone, such as America/Chicago")
	}
	return zone, nil
}

// ParseSince parses the field since of a company: a point in time, to the second. "" is the zero time.
func ParseSince(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, errors.New("must be a date and time with a zone, such as 2026-11-30T08:00:00Z")
	}
	return t.Truncate(time.Second), nil
}
