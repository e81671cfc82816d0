// Package setup connects a company: it compares what is there with what should be, shows the difference as
// a plan, and makes it so.
//
//	where              what should be there
//	────────────────── ───────────────────────────────────────────────────────────────────────
//	companies file     the named client, if the company has one
//	                   the entry: client or credentials, connector, webhook_tokens_file, cost code list, url
//	tokens file        a webhook token; two while it is rotated, the newest last
//	Procore            an ERP connection with the metadata of package metadata
//	                   one hook of our namespace, to <url>/webhooks/procore/<company>, with the newest token
//	                   its trigger, ERP Requests / create
//
// Each step leaves a state from which another run goes on: what a hook sends is in the file before the hook is
// told to send it, and leaves the file after. A hook is changed in place, so that what waits in its queue stays.
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

// Namespace is what our hooks are called in Procore, unless somebody says otherwise.
const Namespace = "tieback"

// APIVersion is the shape of deliveries that a new hook asks for; ingest reads all of them.
const APIVersion = "v2.0"

// Options say what a company's setup should come to. What is empty stays as it is in the companies file.
type Options struct {
	Company int64

	URL              string // ingest's public base, https://host
	Name             string
	ClientName       string // a named client, made where the file has none; "": that of the entry, or one of the company's own
	ClientID         string // of the client, as are the next three
	ClientSecretFile string
	APIURL           string // a named client's; "": the environment's
	LoginURL         string
	Connector        map[string]string // "driver" and its settings; nil: as it is
	MetadataFile     string
	TimeZone         string // IANA name
	Since            string // RFC 3339; what Procore created before it is not worked
	CodeList         int64  // standard cost code list of a connection that Procore does not show

	Namespace  string // of our hook; kept in the entry
	APIVersion string // "": APIVersion for a new hook, and any for one that is there

	SendMetadata bool // also where it seems to be there already
	RotateToken  bool
	Remove       bool // hook and trigger instead of making them

	WithoutIngest bool // changes the hook's token without ingest's word that it takes it
}

// Deps are what a setup works with.
type Deps struct {
	Companies string                                     // the companies file; it need not be there yet
	Webhooks  string                                     // the file of webhook hashes that ingest reads; it need not be there yet
	Procore   func(company.Set) (*procore.Client, error) // a client for one company
	Drivers   connector.Drivers                          //
	Client    *http.Client                               // asks ingest; nil: one with 5 s
	Waiting   func(d time.Duration, why string)          // told of each wait; nil: nobody is
	Backoff   time.Duration                              // before a second try of a call that reads; 0: 1 s
	Patience  time.Duration                              // for ingest to take up a new token; 0: 20 s
}

// ErrUsage is an error of the options or the companies file; nothing was called.
var ErrUsage = errors.New("setup: wrong options or companies file")

type usageError struct{ error }

func (usageError) Is(target error) bool { return target == ErrUsage }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

var namespaceForm = regexp.MustCompile(`^[a-z0-9-]+$`)

// secretSettings are the drivers' settings that are secrets, which must not be on a command line.
var secretSettings = []string{"password", "token", "key", "secret"}

func (o *Options) check() error {
	if o.Company <= 0 {
		return usagef("--company: must be the company's id in Procore, a positive number")
	}
	if o.Namespace != "" && !namespaceForm.MatchString(o.Namespace) {
		return usagef("--namespace %q: may hold a-z, 0-9 and - only", o.Namespace)
	}
	if o.Remove && o.RotateToken {
		return usagef("--remove and --rotate-token: one of them")
	}
	for _, name := range secretSettings {
		if o.Connector[name] != "" {
			return usagef("--connector %s=…: a secret on the command line can be read by everybody on this machine; write it to a file and give %s_file=PATH", name, name)
		}
	}
	var err error
	o.URL, err = base(o.URL)
	return err
}

// base checks ingest's public base and takes its last slash away.
func base(raw string) (string, error) {
	if raw == "" {
		return "", nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", usagef("--url: must be ingest's public base, such as https://tieback.example.com")
	}
	if strings.Contains(u.Path, "/webhooks/") {
		return "", usagef("--url %s: give the base only; /webhooks/procore/<company> is put behind it", raw)
	}
	return strings.TrimRight(raw, "/"), nil
}

// Destination is where a company's deliveries go.
func Destination(base string, id int64) string {
	return fmt.Sprintf("%s/webhooks/procore/%d", strings.TrimRight(base, "/"), id)
}

// Make looks at what is there and plans the rest. It changes nothing. An error that is ErrUsage is the caller's
// to correct; any other says in plain words what is in the way.
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
