// Package company reads the companies file: which Procore companies are connected,
// with which credentials and which ERP. See README.md, "Configuration".
package company

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Secret is a value that prints as "[secret]" wherever it strays.
type Secret string

func (Secret) String() string { return "[secret]" }

// GoString keeps a secret out of %#v.
func (Secret) GoString() string { return "[secret]" }

// MarshalText keeps a secret out of encoders, zap's included.
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Company is one connected Procore company, validated.
type Company struct {
	ID                     int64
	Name                   string
	ClientID               string
	ClientSecret           Secret
	StandardCostCodeListID int64 // 0: not known; standard cost codes can't be synced
	Driver                 string
	Settings               map[string]string // the driver's own, secrets resolved

	tokens [][sha256.Size]byte
}

// Authentic says whether token is one of the company's webhook tokens, in constant time.
// Only the tokens' hashes are kept. On a nil company it does the same work and says no,
// so that an unknown company can't be told from a wrong token.
func (c *Company) Authentic(token string) bool {
	hash := sha256.Sum256([]byte(token))
	want := make([][sha256.Size]byte, 2)
	var known int
	if c != nil {
		known = copy(want, c.tokens)
	}
	ok := 0
	for i := range want {
		ok |= subtle.ConstantTimeCompare(hash[:], want[i][:]) & subtle.ConstantTimeLessOrEq(i+1, known)
	}
	return ok == 1
}

// Set is all connected companies, by id.
type Set map[int64]*Company

type file struct {
	Companies []entry `yaml:"companies"`
}

type entry struct {
	ID                     int64             `yaml:"id"`
	Name                   string            `yaml:"name"`
	ClientID               string            `yaml:"client_id"`
	ClientSecret           string            `yaml:"client_secret"`
	ClientSecretFile       string            `yaml:"client_secret_file"`
	WebhookTokens          []string          `yaml:"webhook_tokens"`
	WebhookTokensFile      string            `yaml:"webhook_tokens_file"`
	StandardCostCodeListID int64             `yaml:"standard_cost_code_list_id"`
	Connector              map[string]string `yaml:"connector"`
}

// Load reads and validates the companies file at path.
func Load(path string) (Set, error) {
	if path == "" {
		return nil, errors.New("TIEBACK_COMPANIES is not set: give it the path of the companies file")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("companies file: %w", err)
	}
	set, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("companies file %s: %w", path, err)
	}
	return set, nil
}

// Parse validates a companies file; errors name the company and the field, and all are told at once.
func Parse(raw []byte) (Set, error) {
	var f file
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(f.Companies) == 0 {
		return nil, errors.New("companies: the list is empty; add at least one company")
	}
	set := make(Set, len(f.Companies))
	var errs []error
	for i, e := range f.Companies {
		c, err := e.company()
		if err != nil {
			errs = append(errs, fmt.Errorf("companies[%d]: %w", i, err))
			continue
		}
		if set[c.ID] != nil {
			errs = append(errs, fmt.Errorf("companies[%d].id: company %d is listed twice", i, c.ID))
		}
		set[c.ID] = c
	}
	return set, errors.Join(errs...)
}

func (e entry) company() (*Company, error) {
	var errs []error
	fail := func(field, why string) { errs = append(errs, fmt.Errorf("%s: %s", field, why)) }
	if e.ID <= 0 {
		fail("id", "must be the company's id in Procore, a positive number")
	}
	if e.ClientID == "" {
		fail("client_id", "is missing: the Client ID of the company's service account")
	}
	secret, err := inlineOrFile("client_secret", e.ClientSecret, e.ClientSecretFile)
	if err != nil {
		errs = append(errs, err)
	}
	tokens, err := e.tokens()
	if err != nil {
		errs = append(errs, err)
	}
	settings, err := resolve(e.Connector)
	if err != nil {
		errs = append(errs, err)
	}
	driver := settings["driver"]
	if driver == "" {
		fail("connector.driver", "is missing: which ERP this company books in, for example ledger")
	}
	delete(settings, "driver")
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	c := &Company{
		ID: e.ID, Name: e.Name, ClientID: e.ClientID, ClientSecret: Secret(secret),
		StandardCostCodeListID: e.StandardCostCodeListID, Driver: driver, Settings: settings,
	}
	for _, t := range tokens {
		c.tokens = append(c.tokens, sha256.Sum256([]byte(t)))
	}
	return c, nil
}

func (e entry) tokens() ([]string, error) {
	tokens := e.WebhookTokens
	if e.WebhookTokensFile != "" {
		if len(tokens) > 0 {
			return nil, errors.New("webhook_tokens: give it inline or as webhook_tokens_file, not both")
		}
		raw, err := os.ReadFile(e.WebhookTokensFile)
		if err != nil {
			return nil, fmt.Errorf("webhook_tokens_file: %w", err)
		}
		tokens = strings.Fields(string(raw))
	}
	if len(tokens) < 1 || len(tokens) > 2 {
		return nil, fmt.Errorf("webhook_tokens: needs one token, or two while rotating; there are %d", len(tokens))
	}
	for _, t := range tokens {
		if len(t) < 16 {
			return nil, errors.New("webhook_tokens: a token needs at least 16 characters")
		}
	}
	return tokens, nil
}

// resolve reads every name_file setting into name.
func resolve(settings map[string]string) (map[string]string, error) {
	out := make(map[string]string, len(settings))
	for name, value := range settings {
		plain, isFile := strings.CutSuffix(name, "_file")
		if !isFile {
			out[name] = value
			continue
		}
		resolved, err := inlineOrFile("connector."+plain, settings[plain], value)
		if err != nil {
			return nil, err
		}
		out[plain] = resolved
	}
	return out, nil
}

func inlineOrFile(field, inline, path string) (string, error) {
	switch {
	case inline != "" && path != "":
		return "", fmt.Errorf("%s: give it inline or as %s_file, not both", field, field)
	case inline != "":
		return inline, nil
	case path == "":
		return "", fmt.Errorf("%s: is missing (or %s_file, a path)", field, field)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s_file: %w", field, err)
	}
	secret := strings.TrimSpace(string(raw))
	if secret == "" {
		return "", fmt.Errorf("%s_file: %s is empty", field, path)
	}
	return secret, nil
}
