package setup

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/procore/connection"
)

// rank sorts the hooks so that the one to keep is first: preferably one with a trigger for ERP requests, because
// its queue may hold events, then one with the right URL, then the one with the lowest id.
func rank(hooks []connection.Hook, destination string) {
	worth := func(h connection.Hook) (n int) {
		if h.Listens() > 0 {
			n += 2
		}
		if h.URL == destination {
			n++
		}
		return n
	}
	slices.SortFunc(hooks, func(a, b connection.Hook) int {
		return cmp.Or(cmp.Compare(worth(b), worth(a)), cmp.Compare(a.ID, b.ID))
	})
}

// sends is Hook.Sends for the newest token. If Procore shows only the token's end, and an older token has the
// same end, the two can't be told apart: both results are false.
func (w *work) sends(h connection.Hook) (sends, shown bool) {
	sends, shown = h.Sends(w.newest())
	_, masked := h.End()
	for _, older := range w.tokens[:max(0, len(w.tokens)-1)] {
		if also, _ := h.Sends(older); masked && sends && also {
			return false, false
		}
	}
	return sends, shown
}

func (w *work) headers() map[string]string {
	return map[string]string{"Authorization": "Bearer " + string(w.newest())}
}

func (w *work) stepsOfHook() {
	if len(w.hooks) == 0 {
		w.plan.add(Create, w.createHook, "webhook hook", fmt.Sprintf("%s, namespace %s", w.destination(), w.Namespace))
		return
	}
	h := w.hooks[0]
	if why := w.differs(h); len(why) > 0 {
		w.plan.add(Change, w.changeHook, h.String(), strings.Join(why, "; "))
		return
	}
	w.plan.add(Keep, nil, h.String(), h.URL)
}

// differs returns the differences between the hook and what it should be.
func (w *work) differs(h connection.Hook) (why []string) {
	if h.URL != w.destination() {
		why = append(why, fmt.Sprintf("delivers to %s, should deliver to %s", h.URL, w.destination()))
	}
	if w.APIVersion != "" && h.APIVersion != w.APIVersion {
		why = append(why, fmt.Sprintf("sends version %s, should send %s", h.APIVersion, w.APIVersion))
	}
	sends, shown := w.sends(h)
	switch {
	case w.known == 0 || w.RotateToken && w.known == 1:
		why = append(why, "gets the new webhook token")
	case shown && !sends:
		why = append(why, "does not send the newest webhook token")
	case !shown: // an interrupted run may have set another token
		why = append(why, "gets the newest webhook token, as Procore does not show which token the hook sends")
	}
	return why
}

func (w *work) createHook(ctx context.Context) error {
	version := cmp.Or(w.APIVersion, connection.APIVersion)
	h, err := w.api().CreateHook(ctx, connection.HookSettings{APIVersion: version, Namespace: w.Namespace, URL: w.destination(), Headers: w.headers()})
	if err != nil {
		return err
	}
	h.Namespace, h.APIVersion = w.Namespace, cmp.Or(h.APIVersion, version)
	w.hooks = []connection.Hook{h}
	return nil
}

// changeHook changes the hook in place, once ingest accepts its new token.
func (w *work) changeHook(ctx context.Context) error {
	if err := w.await(ctx); err != nil {
		return err
	}
	h := w.hooks[0]
	return w.api().UpdateHook(ctx, h.ID, connection.HookSettings{APIVersion: w.APIVersion, Namespace: w.Namespace, URL: w.destination(), Headers: w.headers()})
}

func (w *work) stepsOfTrigger() {
	const what = "trigger ERP Requests / create"
	create := func(ctx context.Context) error { return w.api().CreateTrigger(ctx, w.hooks[0]) }
	if len(w.hooks) == 0 {
		w.plan.add(Create, create, what, "of the new hook")
		return
	}
	h := w.hooks[0]
	found := 0
	for _, t := range h.Triggers {
		if !t.ForRequests() {
			w.plan.note("hook %d also has a trigger %s / %s: its deliveries are acknowledged and ignored", h.ID, t.Resource, t.Event)
			continue
		}
		if found++; found == 1 {
			w.plan.add(Keep, nil, what, fmt.Sprintf("%d of hook %d", t.ID, h.ID))
			continue
		}
		w.plan.add(Remove, func(ctx context.Context) error { return w.api().DeleteTrigger(ctx, h, t.ID) }, fmt.Sprintf("trigger %d of hook %d", t.ID, h.ID), "it exists twice")
	}
	if found == 0 {
		w.plan.add(Create, create, what, fmt.Sprintf("of hook %d, which has no trigger for ERP requests", h.ID))
	}
}

// stepsOfDuplicates removes other hooks of the namespace. A hook is deleted only when no deliveries wait in its
// queue: Procore has made them, or it has given up on them and the sweep finds their requests.
func (w *work) stepsOfDuplicates() {
	if len(w.hooks) < 2 {
		return
	}
	for _, h := range w.hooks[1:] {
		if h.Failing < 0 {
			w.plan.add(Keep, nil, h.String(), fmt.Sprintf("a duplicate, to %s; Procore does not say whether the hook has pending deliveries", h.URL))
			w.plan.note("hook %d is a duplicate and stays, as Procore does not say whether the hook has pending deliveries: each event is delivered twice and processed once. "+
				"Delete it in Procore when it has none (after at most 12 hours)", h.ID)
			continue
		}
		if h.Failing > 0 {
			w.plan.add(Keep, nil, h.String(), fmt.Sprintf("a duplicate, to %s, with %d pending deliveries", h.URL, h.Failing))
			w.plan.note("hook %d is a duplicate with pending deliveries: run this again when they are done (after at most 12 hours)", h.ID)
			continue
		}
		w.plan.add(Remove, func(ctx context.Context) error { return w.api().DeleteHook(ctx, h) }, h.String(),
			fmt.Sprintf("a duplicate in the namespace %s, to %s", h.Namespace, h.URL))
	}
}

// stepsOfOldToken completes a rotation: once the hook sends the newest token, the older one is removed.
func (w *work) stepsOfOldToken() {
	if w.known < 2 || len(w.hooks) == 0 {
		return
	}
	h := w.hooks[0]
	sends, shown := w.sends(h)
	switch {
	case w.entry.Get("webhook_tokens_file") == "":
		w.plan.note("two webhook tokens are in the companies file itself; remove the older one manually when the hook sends the newer one")
	case shown && !sends:
		w.plan.note("the older webhook token stays until the next run: the hook gets the newer one now")
	case h.Failing > 0:
		w.plan.note("the older webhook token stays: %d deliveries of hook %d will be retried; run this again when they are done", h.Failing, h.ID)
	case h.Failing < 0:
		w.plan.note("the older webhook token stays, as Procore does not say whether deliveries of hook %d will be retried: "+
			"remove it (the first line) from %s manually, 12 hours after the hook got the newer one", h.ID, w.entry.Get("webhook_tokens_file"))
	default:
		w.plan.add(Remove, func(context.Context) error { return w.writeTokens(w.tokens[1:]) }, "older webhook token", "in "+w.entry.Get("webhook_tokens_file"))
	}
}

// stepsOfRemoval deletes the hooks of the namespace with their triggers.
func (w *work) stepsOfRemoval() {
	for _, h := range w.hooks {
		detail := "with its triggers; to " + h.URL
		if h.Failing > 0 {
			detail += fmt.Sprintf("; its %d pending deliveries will not be made", h.Failing)
		} else if h.Failing < 0 {
			detail += "; its pending deliveries, if there are any, will not be made"
		}
		w.plan.add(Remove, func(ctx context.Context) error { return w.api().DeleteHook(ctx, h) }, h.String(), detail)
	}
	w.plan.note("not removed: the ERP connection in Procore (an administrator deactivates ERP Integrations there), the company's entry %s and its webhook token, "+
		"the links and the history in the broker, and the ERP's books. Remove the entry from the file and restart the services to disconnect the company. "+
		"If you connect the company again later, give setup --since: earlier requests are then not processed", "in "+w.Companies)
}
