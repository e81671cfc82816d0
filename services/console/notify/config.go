// Package notify tells people what needs attention, and sends them a daily digest of failed exports: by a webhook, in Slack or by
// mail.
//
//	attention   what GetOverview says needs attention, once it has lasted for a while. Everything that is new since a receiver's
//	            last message is in one message, and a receiver gets at most one per interval.
//	digest      once a day and company, the exports of the last 24 hours that failed, with the reason that the accountant sees.
package notify

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/mail"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tieback/tieback/pkg/secretfile"
)

// Config is the file TIEBACK_CONSOLE_NOTIFY. docs/configuration.md has an example.
type Config struct {
	ConsoleURL string        `yaml:"console_url"` // for links; "": none
	Wait       time.Duration `yaml:"wait"`        // how long something needs attention before it is sent; default 2m
	Every      time.Duration `yaml:"every"`       // at most one message about attention per receiver; default 30m
	Digest     string        `yaml:"digest"`      // time of day in the company's time zone, as 07:00; that is the default
	Receivers  []Receiver    `yaml:"receivers"`

	digest time.Duration // since midnight
}

// Receiver gets messages in exactly one way.
type Receiver struct {
	Name      string   `yaml:"name"`
	Sends     []string `yaml:"sends"`     // attention, digest
	Companies []int64  `yaml:"companies"` // empty: all, and what concerns no company
	Webhook   *Hook    `yaml:"webhook"`
	Slack     *Hook    `yaml:"slack"`
	Mail      *Mail    `yaml:"mail"`
}

// Hook is a URL that gets a POST. It is a secret.
type Hook struct {
	URLFile string `yaml:"url_file"`
	url     string
}

// Mail is an account at an SMTP server. The connection uses STARTTLS; to a loopback address it may do without.
type Mail struct {
	Server       string   `yaml:"server"` // host:port
	From         string   `yaml:"from"`
	To           []string `yaml:"to"`
	Username     string   `yaml:"username"` // "": no login
	PasswordFile string   `yaml:"password_file"`
	CAFile       string   `yaml:"ca_file"` // certificates of the server's CA, PEM; "": those of the system
	password     string
	roots        *x509.CertPool // nil: those of the system
}

// The kinds of messages.
const (
	attention = "attention"
	digest    = "digest"
)

// Load reads the file and the files with secrets that it names. The error lists all mistakes, without secrets.
func Load(path string) (*Config, error) {
	raw, err := secretfile.ReadSecret(path)
	if err != nil {
		return nil, fmt.Errorf("TIEBACK_CONSOLE_NOTIFY: %w", err)
	}
	c := &Config{}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func (c *Config) check() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	c.Wait, c.Every = cmp.Or(c.Wait, 2*time.Minute), cmp.Or(c.Every, 30*time.Minute)
	at, err := time.Parse("15:04", cmp.Or(c.Digest, "07:00"))
	if err != nil {
		fail("digest: must be a time of day, such as 07:00")
	}
	c.digest = time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute
	if c.Wait < 0 || c.Every < 0 {
		fail("wait and every: must not be negative")
	}
	if u, err := url.Parse(c.ConsoleURL); c.ConsoleURL != "" && (err != nil || u.Host == "") {
		fail("console_url: must be the console's URL, such as https://console.tieback.example.com")
	}
	c.ConsoleURL = strings.TrimSuffix(c.ConsoleURL, "/")
	if len(c.Receivers) == 0 {
		fail("receivers: is missing")
	}
	names := map[string]bool{}
	for i := range c.Receivers {
		r := &c.Receivers[i]
		if r.Name == "" || names[r.Name] {
			fail("receivers[%d].name: is missing, or another receiver has it", i)
		}
		names[r.Name] = true
		if err := r.check(); err != nil {
			fail("receivers[%d] %s: %w", i, r.Name, err)
		}
	}
	return errors.Join(errs...)
}

func (r *Receiver) check() error {
	if len(r.Sends) == 0 || slices.ContainsFunc(r.Sends, func(s string) bool { return s != attention && s != digest }) {
		return errors.New("sends: must list attention, digest or both")
	}
	ways := 0
	for _, h := range []*Hook{r.Webhook, r.Slack} {
		if h == nil {
			continue
		}
		ways++
		raw, err := secretfile.ReadSecret(h.URLFile)
		if err != nil {
			return fmt.Errorf("url_file: %w", err)
		}
		h.url = strings.TrimSpace(string(raw))
		if u, err := url.Parse(h.url); err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
			return errors.New("url_file: the file has no https:// URL") // never quoted: it is a secret
		}
	}
	if r.Mail != nil {
		ways++
		if err := r.Mail.check(); err != nil {
			return err
		}
	}
	if ways != 1 {
		return errors.New("must have exactly one of webhook, slack and mail")
	}
	return nil
}

func (m *Mail) check() error {
	if _, _, err := net.SplitHostPort(m.Server); err != nil {
		return errors.New("server: must be host:port")
	}
	if _, err := mail.ParseAddress(m.From); err != nil {
		return errors.New("from: is not a mail address")
	}
	if len(m.To) == 0 {
		return errors.New("to: is missing")
	}
	for _, to := range m.To {
		if _, err := mail.ParseAddress(to); err != nil {
			return fmt.Errorf("to: %q is not a mail address", to)
		}
	}
	if m.CAFile != "" {
		raw, err := os.ReadFile(m.CAFile)
		m.roots = x509.NewCertPool()
		if err == nil && !m.roots.AppendCertsFromPEM(raw) {
			err = errors.New("the file has no certificate")
		}
		if err != nil {
			return fmt.Errorf("ca_file: %w", err)
		}
	}
	if m.Username == "" {
		return nil
	}
	raw, err := secretfile.ReadSecret(m.PasswordFile)
	if m.password = strings.TrimSpace(string(raw)); err == nil && m.password == "" {
		err = errors.New("the file is empty")
	}
	if err != nil {
		return fmt.Errorf("password_file: %w", err)
	}
	return nil
}

// concerns reports whether the receiver gets messages about a company; 0: about none in particular.
func (r *Receiver) concerns(company int64) bool {
	return len(r.Companies) == 0 || slices.Contains(r.Companies, company)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
