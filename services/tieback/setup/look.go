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
	"github.com/tieback/tieback/pkg/procore/metadata"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// work is a setup: what was found, then what is made of it.
type work struct {
	Deps
	Options
	plan *Plan

	file   *company.File
	entry  *company.Entry
	fresh  bool     // the entry is not in the file yet
	made   bool     // it was put there by this run
	fields []string // of the entry that change

	client       *company.Entry // named; nil: the company's own
	freshClient  bool           // it is not in the file yet
	clientFields []string       // of it that change

	company  *company.Company
	tokens   []company.Secret // the newest last
	known    int              // of the tokens that were there at the start
	session  *procore.Session
	erp      *tiebackv1.CapabilitiesResponse
	metadata map[string]any

	connection *Connection // nil: there is none, or Procore does not show it
	shown      bool        // Procore shows connections
	hooks      []Hook      // of our namespace, the one to keep first
	reached    reach       // ingest, with the newest token
	served     reach       // ingest, with any token that may count: accepts where it takes one of them
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

// look finds out all that a plan needs, and changes nothing.
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
		if w.connection, w.shown, err = api.Connection(ctx); err != nil {
			return err
		}
		w.lookAtZone(ctx)
	}
	if w.hooks, err = api.Hooks(ctx, w.Namespace); err != nil {
		return err
	}
	rank(w.hooks, w.destination())
	if err := w.lookForStrangers(ctx); err != nil {
		return err
	}
	if !w.Remove {
		w.ask(ctx)
	}
	return nil
}

// lookForStrangers tells of hooks of another namespace that deliver to us too, as somebody made one by hand.
func (w *work) lookForStrangers(ctx context.Context) error {
	all, err := w.api().AllHooks(ctx)
	for _, h := range all {
		if h.URL == w.destination() && h.Namespace != w.Namespace && !w.Remove {
			w.plan.note("hook %d of namespace %s delivers to us as well: each event comes twice and is worked once. "+
				"Delete it in Procore, or adopt it: --namespace %s", h.ID, h.Namespace, h.Namespace)
		}
	}
	return err
}

// lookAtClock checks the permissions, and gives a new entry the time at which the company is connected, by Procore's
// clock: what was clicked before is not ours. A later run keeps it.
func (w *work) lookAtClock(ctx context.Context, api *API) error {
	if !w.fresh || w.entry.Get("since") != "" {
		return api.Permitted(ctx)
	}
	now, err := api.Clock(ctx)
	if err == nil && w.entry.Set("since", now.UTC().Format(time.RFC3339)) {
		w.fields = append(w.fields, "since")
	}
	return err
}

// id is the company's, in Procore.
func (w *work) id() int64 { return w.Options.Company }

func (w *work) api() *API {
	return &API{Session: w.session, Company: w.id(), Backoff: w.Backoff, Waiting: w.Waiting}
}

func (w *work) destination() string { return Destination(w.entry.Get("url"), w.id()) }

// newest is the token that the hook should send; "": there is none yet.
func (w *work) newest() company.Secret {
	if len(w.tokens) == 0 {
		return ""
	}
	return w.tokens[len(w.tokens)-1]
}

// lookAtERP asks the connector what it can do, which the metadata is made of.
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
		return fmt.Errorf("the connector does not say what its ERP can do: is it running, and are its settings in the companies file right? %w", err)
	}
	w.metadata, err = metadata.Of(w.erp, w.company.MetadataFile)
	if err != nil {
		return usageError{err}
	}
	return nil
}
