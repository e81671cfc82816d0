// Package setup connects a company: it compares the current state with the required state, shows the difference as a
// plan, and applies the plan.
//
//	where              the required state
//	────────────────── ───────────────────────────────────────────────────────────────────────
//	companies file     the named client, if the company has one
//	                   the entry: client or credentials, connector, webhook_tokens_file, cost code list, url
//	tokens file        a webhook token; two during a rotation, the newest last
//	Procore            an ERP connection with the metadata of package metadata
//	                   one hook of our namespace, to <url>/webhooks/procore/<company>, with the newest token
//	                   its trigger, ERP Requests / create
//
// After each step another run can continue: a token is in the file before the hook sends it, and is removed from the file
// after the hook stops sending it. A hook is changed in place, so that its pending deliveries are kept.
package setup

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/procore"
)

// Options are the options of a company's setup. Empty ones keep the values in the companies file.
type Options struct {
	Company int64

	URL              string // the public base URL of ingest, https://host
	Name             string
	ClientName       string // the name of a client; added if the file has none of that name. "": the client that the entry names, or else the company's own credentials
	ClientID         string // of the client, as are the next three
	ClientSecretFile string
	APIURL           string // of a named client; "": the environment's
	LoginURL         string
	Connector        map[string]string // "driver" and its settings; nil: unchanged
	MetadataFile     string
	TimeZone         string // IANA name
	Since            string // RFC 3339; requests that Procore created before it are not processed
	CodeList         int64  // standard cost code list, if Procore does not show the connection

	Namespace  string // of our hook; stored in the entry
	APIVersion string // "": that of package connection for a new hook, any version for an existing one

	SendMetadata bool // even if Procore seems to have it
	RotateToken  bool
	Remove       bool // remove hook and trigger instead of creating them

	WithoutIngest bool // change the hook's token without checking that ingest accepts it
}

// Deps are the dependencies of a setup.
type Deps struct {
	Companies string                                     // the companies file; it need not exist yet
	Webhooks  string                                     // the file of webhook token hashes that ingest reads; it need not exist yet
	Procore   func(company.Set) (*procore.Client, error) // a client for one company
	Drivers   connector.Drivers                          // by the name that the companies file gives
	Client    *http.Client                               // for probes of ingest; nil: a client with a timeout of 5 s
	Waiting   func(d time.Duration, why string)          // called before each long wait; nil: not called
	Backoff   time.Duration                              // before a read is retried; 0: 1 s
	Patience  time.Duration                              // time for ingest to accept a new token; 0: 20 s
}

// ErrUsage is an error in the options, the settings, the companies file or a file that it names. Nothing was changed.
var ErrUsage = errors.New("setup: wrong options or companies file")

type usageError struct{ error }

func (usageError) Is(target error) bool { return target == ErrUsage }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

var namespaceForm = regexp.MustCompile(`^[a-z0-9-]+$`)

// secretSettings are the secret settings of drivers. They must not be on a command line.
var secretSettings = []string{"password", "token", "key", "secret"}

func (o *Options) check() error {
	if o.Company <= 0 {
		return usagef("--company: must be the company's id in Procore, a positive number")
	}
	if o.Namespace != "" && !namespaceForm.MatchString(o.Namespace) {
		return usagef("--namespace %q: may only contain a-z, 0-9 and -", o.Namespace)
	}
	if o.Remove && o.RotateToken {
		return usagef("--remove and --rotate-token: give only one of them")
	}
	for _, name := range secretSettings {
		if o.Connector[name] != "" {
			return usagef("--connector %s=…: every user of this machine can read a secret on the command line; write it to a file and give %s_file=PATH", name, name)
		}
	}
	var err error
	o.URL, err = base(o.URL)
	return err
}

// base validates the public base URL of ingest and removes a trailing slash.
func base(raw string) (string, error) {
	if raw == "" {
		return "", nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", usagef("--url: must be the public base URL of ingest, such as https://tieback.example.com")
	}
	if strings.Contains(u.Path, "/webhooks/") {
		return "", usagef("--url %s: give only the base URL; /webhooks/procore/<company> is appended", raw)
	}
	return strings.TrimRight(raw, "/"), nil
}

// Make reads the current state and returns the plan. It changes nothing. ErrUsage means that the options, the settings,
// the companies file or a file that it names must be corrected. Any other error says what is wrong.
func Make(ctx context.Context, d Deps, o Options) (*Plan, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	w := &work{Deps: d, Options: o, plan: &Plan{Company: o.Company, Steps: []Step{}, Notes: []string{}, Restart: []string{}}}
	w.defaults()
	w.plan.work = w
	if err := w.look(ctx); err != nil {
		return nil, w.clean(err)
	}
	w.steps()
	return w.plan, nil
}
