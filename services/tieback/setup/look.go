package setup

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/connection"
	"github.com/tieback/tieback/pkg/procore/metadata"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// work is a setup in progress: what was found, and the plan.
type work struct {
	Deps
	Options
	plan *Plan

	file   *company.File
	entry  *company.Entry
	fresh  bool     // the entry is not in the file yet
	made   bool     // this run added it
	fields []string // fields of the entry that change

	client       *company.Entry // the named client; nil: the company has its own
	freshClient  bool           // the client is not in the file yet
	clientFields []string       // fields of the client that change

	company  *company.Company
	tokens   []company.Secret // the newest last
	known    int              // number of tokens at the start
	session  *procore.Session
	erp      *tiebackv1.CapabilitiesResponse
	metadata map[string]any

	connection *connection.ERP   // nil: none, or Procore does not show it
	shown      bool              // Procore shows connections
	hooks      []connection.Hook // of the namespace, the one to keep first
	reached    reach             // ingest's answer to the newest token
	served     reach             // the combined answer to all tokens that may be in use; see better
}

func (w *work) defaults() {
	if w.Client == nil {
		w.Client = &http.Client{Timeout: 5 * time.Second}
	}
	if w.Waiting == nil {
		w.Waiting = func(time.Duration, string) {}
	}
	if w.Backoff == 0 {
		w.Backoff = time.Second
	}
	if w.Patience == 0 {
		w.Patience = 20 * time.Second
	}
}

// look reads everything that a plan needs. It changes nothing.
func (w *work) look(ctx context.Context) error {
	if err := w.readEntry(); err != nil {
		return err
	}
	client, err := w.Procore(company.Set{w.id(): w.company})
	if err != nil {
		return usageError{err}
	}
	if w.session, err = client.Company(w.id()); err != nil {
		return err
	}
	api := w.api()
	if err := w.lookAtClock(ctx, api); err != nil {
		return err
	}
	if !w.Remove {
		if err := w.lookAtERP(ctx); err != nil {
			return err
		}
		if w.connection, w.shown, err = api.ERP(ctx); err != nil {
			return err
		}
		w.lookAtZone(ctx)
	}
	if w.hooks, err = api.Hooks(ctx, w.Namespace); err != nil {
		return err
	}
	rank(w.hooks, w.destination())
	if err := w.lookForOtherHooks(ctx); err != nil {
		return err
	}
	if !w.Remove {
		w.probeTokens(ctx)
	}
	return nil
}

// lookForOtherHooks reports hooks of another namespace that also deliver to this ingest, for example ones
// that were made manually.
func (w *work) lookForOtherHooks(ctx context.Context) error {
	all, err := w.api().AllHooks(ctx)
	for _, h := range all {
		if h.URL == w.destination() && h.Namespace != w.Namespace && !w.Remove {
			w.plan.note("hook %d of namespace %s delivers to this URL as well: each event is delivered twice and processed once. "+
				"Delete it in Procore, or adopt it: --namespace %s", h.ID, h.Namespace, h.Namespace)
		}
	}
	return err
}

// lookAtClock makes a call that needs the required permissions. For a new entry it sets the field "since", if it
// is not given, to the time in Procore's response: earlier requests are not processed. Later runs keep the time.
func (w *work) lookAtClock(ctx context.Context, api *connection.API) error {
	if !w.fresh || w.entry.Get("since") != "" {
		return api.Permitted(ctx)
	}
	now, err := api.Clock(ctx)
	if err == nil && w.entry.Set("since", now.UTC().Format(time.RFC3339)) {
		w.fields = append(w.fields, "since")
	}
	return err
}

// id is the company's id in Procore.
func (w *work) id() int64 { return w.Options.Company }

func (w *work) api() *connection.API {
	return &connection.API{Session: w.session, Company: w.id(), Backoff: w.Backoff, Waiting: w.Waiting}
}

func (w *work) destination() string { return connection.Destination(w.entry.Get("url"), w.id()) }

// newest returns the token that the hook should send, or "" if there is none yet.
func (w *work) newest() company.Secret {
	if len(w.tokens) == 0 {
		return ""
	}
	return w.tokens[len(w.tokens)-1]
}

// lookAtERP asks the connector for its capabilities, from which the metadata is made.
func (w *work) lookAtERP(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	open, ok := w.Drivers[w.company.Driver]
	if !ok {
		return usagef("connector.driver: there is no driver %q", w.company.Driver)
	}
	driver, err := open(ctx, w.id(), w.company.Settings())
	if err != nil {
		return fmt.Errorf("the connector can't be opened: %w", err)
	}
	erp := connector.New(driver, connector.Config{Company: w.id()})
	w.erp, err = erp.Capabilities(ctx)
	if err := errors.Join(err, erp.Close()); err != nil {
		return fmt.Errorf("the connector does not return its capabilities. Check that it is running, and its settings in the companies file: %w", err)
	}
	w.metadata, err = metadata.Of(w.erp, w.company.MetadataFile)
	if err != nil {
		return usageError{err}
	}
	return nil
}
