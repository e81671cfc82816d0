package setup

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/connection"
	"github.com/tieback/tieback/pkg/procore/metadata"
)

// steps plans the changes, in an order in which the setup may stop after any step.
func (w *work) steps() {
	if w.Remove {
		w.stepsOfRemoval()
		return
	}
	w.stepsOfFiles()
	w.stepsOfConnection()
	w.stepsOfHook()
	w.stepsOfTrigger()
	w.stepsOfDuplicates()
	w.stepsOfOldToken()
	if strings.HasPrefix(w.entry.Get("url"), "http://") {
		w.plan.note("%s is not https: the webhook token can be read on the network", w.entry.Get("url"))
	}
	if w.plan.Changes() == 0 {
		w.noteReach()
	}
}

func (w *work) stepsOfConnection() {
	what := "ERP connection in Procore"
	erp := fmt.Sprintf("%s %s", w.erp.GetName(), w.erp.GetVersion())
	c := w.connection
	switch {
	case c == nil && (w.shown || w.entry.Get("standard_cost_code_list_id") == ""):
		w.plan.add(Create, w.connect, what, "with the metadata of "+erp)
	case c == nil:
		w.plan.add(Keep, nil, what, "Procore does not show it; standard cost code list "+w.entry.Get("standard_cost_code_list_id"))
		w.metadataStep(nil)
	default:
		w.plan.add(Keep, nil, what, fmt.Sprintf("%d, standard cost code list %d", c.ID, c.CodeList))
		if c.CodeList != 0 && w.entry.Get("standard_cost_code_list_id") != fmt.Sprint(c.CodeList) {
			w.plan.add(Change, func(ctx context.Context) error { return w.keepCodeList(ctx, c.CodeList) },
				"standard_cost_code_list_id in the companies file", fmt.Sprint(c.CodeList))
		}
		w.metadataStep(c.Metadata)
	}
}

// metadataStep compares the metadata with the current metadata in Procore; current is nil if Procore does not show it.
func (w *work) metadataStep(current map[string]any) {
	const what = "ERP metadata in Procore"
	send := func(ctx context.Context) error { return w.api().UpdateMetadata(ctx, w.metadata) }
	switch {
	case w.SendMetadata:
		w.plan.add(Change, send, what, "sent again, as requested")
	case current == nil:
		w.plan.add(Keep, nil, what, "Procore does not show it; --send-metadata sends it, and so does Sync Metadata in Procore")
	case metadata.Same(current, w.metadata):
		w.plan.add(Keep, nil, what, "as generated from the connector and metadata_file")
	default:
		w.plan.add(Change, send, what, "it differs from the connector and metadata_file")
	}
}

// connect creates the ERP connection and stores its cost code list.
func (w *work) connect(ctx context.Context) error {
	c, err := w.api().CreateERP(ctx, w.entry.Get("url"), w.metadata)
	var refused *procore.StatusError
	switch {
	case errors.As(err, &refused) && !errors.Is(err, connection.ErrForbidden):
		return fmt.Errorf("%w. If the company already has a connection that Procore does not show, give the id of its standard cost code list: --standard-cost-code-list N", err)
	case fault.ClassOf(err) == fault.Ambiguous:
		return fmt.Errorf("%w. It may have been created anyway: run this again", err)
	case err != nil:
		return err
	}
	return w.keepCodeList(ctx, c.CodeList)
}

func (w *work) keepCodeList(ctx context.Context, id int64) error {
	if id == 0 {
		w.plan.note("Procore named no standard cost code list: standard cost codes can't be synced until standard_cost_code_list_id is in the companies file")
		return nil
	}
	if !w.entry.SetNumber("standard_cost_code_list_id", id) {
		return nil
	}
	w.fields = append(w.fields, "standard_cost_code_list_id")
	return w.save(ctx)
}

// afterwards notes what is left to do for the user.
func (w *work) afterwards(ctx context.Context) error {
	if w.Remove {
		return nil
	}
	if len(w.tokens) > 0 {
		w.reached = w.probe(ctx, w.newest())
	}
	w.noteReach()
	if len(w.tokens) == 2 {
		w.plan.note("two webhook tokens are valid now; once a delivery has arrived with the new one, run tieback setup --company %d again to remove the old one", w.id())
	}
	return nil
}

func (w *work) noteReach() {
	switch w.reached {
	case accepts:
		w.plan.note("ingest responds at %s and accepts the webhook token", w.entry.Get("url"))
	case refuses:
		w.plan.note("ingest responds at %s and does not accept this company's webhook token: it needs the newest file of webhook token hashes, which setup wrote to %s "+
			"and which ingest reads within ten seconds. In `tieback run` it reads %s instead, and needs a restart if the company is new. "+
			"Until ingest accepts the token, Procore retries refused deliveries, for 12 hours", w.entry.Get("url"), w.Webhooks, w.Companies)
	case silent:
		w.plan.note("ingest could not be reached at %s from here; Procore must be able to reach it there", w.entry.Get("url"))
	}
}
