package setup

import (
	"cmp"
	"context"
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/company"
)

// rank puts the hook to keep first: one that tells of ERP requests has events in its queue.
func rank(hooks []Hook, destination string) {
	worth := func(h Hook) (n int) {
		if h.Listens() > 0 {
			n += 2
		}
		if h.URL == destination {
			n++
		}
		return n
	}
	slices.SortFunc(hooks, func(a, b Hook) int {
		return cmp.Or(cmp.Compare(worth(b), worth(a)), cmp.Compare(a.ID, b.ID))
	})
}

// Sends says whether the hook's header holds a token; shown is false where Procore does not tell.
func (h Hook) Sends(token company.Secret) (sends, shown bool) {
	want := "Bearer " + string(token)
	return subtle.ConstantTimeCompare([]byte(h.Header), []byte(want)) == 1, h.Header != ""
}

func (h Hook) String() string { return fmt.Sprintf("webhook hook %d", h.ID) }

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

// differs says what about the hook is not as it should be.
func (w *work) differs(h Hook) (why []string) {
	if h.URL != w.destination() {
		why = append(why, fmt.Sprintf("delivers to %s, should to %s", h.URL, w.destination()))
	}
	if w.APIVersion != "" && h.APIVersion != w.APIVersion {
		why = append(why, fmt.Sprintf("sends version %s, should %s", h.APIVersion, w.APIVersion))
	}
	sends, shown := h.Sends(w.newest())
	switch {
	case w.known == 0 || w.RotateToken && w.known == 1:
		why = append(why, "gets the new webhook token")
	case shown && !sends:
		why = append(why, "does not send the newest webhook token")
	case !shown: // a run that was broken off may have left it with another
		why = append(why, "gets the newest webhook token, as Procore does not show which it sends")
	}
	return why
}

func (w *work) createHook(ctx context.Context) error {
	version := cmp.Or(w.APIVersion, APIVersion)
	h, err := w.api().createHook(ctx, write{APIVersion: version, Namespace: w.Namespace, URL: w.destination(), Headers: w.headers()})
	if err != nil {
		return err
	}
	h.Namespace, h.APIVersion = w.Namespace, cmp.Or(h.APIVersion, version)
	w.hooks = []Hook{h}
	return nil
}

// changeHook changes the hook in place, once ingest takes what it will send.
func (w *work) changeHook(ctx context.Context) error {
	if err := w.await(ctx); err != nil {
		return err
	}
	h := w.hooks[0]
	return w.api().updateHook(ctx, h.ID, write{APIVersion: w.APIVersion, Namespace: w.Namespace, URL: w.destination(), Headers: w.headers()})
}

func (w *work) stepsOfTrigger() {
	const what = "trigger ERP Requests / create"
	create := func(ctx context.Context) error { return w.api().createTrigger(ctx, w.hooks[0]) }
	if len(w.hooks) == 0 {
		w.plan.add(Create, create, what, "of the new hook")
		return
	}
	h := w.hooks[0]
	found := 0
	for _, t := range h.Triggers {
		if !t.ours() {
			w.plan.note("hook %d has a trigger %s / %s too: its deliveries are acknowledged and left", h.ID, t.Resource, t.Event)
			continue
		}
		if found++; found == 1 {
			w.plan.add(Keep, nil, what, fmt.Sprintf("%d of hook %d", t.ID, h.ID))
			continue
		}
		w.plan.add(Remove, func(ctx context.Context) error { return w.api().deleteTrigger(ctx, h, t.ID) }, fmt.Sprintf("trigger %d of hook %d", t.ID, h.ID), "it is there twice")
	}
	if found == 0 {
		w.plan.add(Create, create, what, fmt.Sprintf("of hook %d, which tells of no ERP requests", h.ID))
	}
}

// stepsOfDuplicates removes other hooks of our namespace. What still waits in one's queue is delivered, or given
// up by Procore and then found by the sweep, before the hook goes.
func (w *work) stepsOfDuplicates() {
	if len(w.hooks) < 2 {
		return
	}
	for _, h := range w.hooks[1:] {
		if h.Failing < 0 {
			w.plan.add(Keep, nil, h.String(), fmt.Sprintf("a second one, to %s; Procore does not say whether deliveries wait in it", h.URL))
			w.plan.note("hook %d is a duplicate and stays, as Procore does not say whether deliveries wait in it: each event comes twice and is worked once. "+
				"Delete it in Procore when none waits (after 12 hours at most)", h.ID)
			continue
		}
		if h.Failing > 0 {
			w.plan.add(Keep, nil, h.String(), fmt.Sprintf("a second one, to %s, with %d deliveries waiting", h.URL, h.Failing))
			w.plan.note("hook %d is a duplicate, but deliveries wait in it: run this again when they are through (after 12 hours at most)", h.ID)
			continue
		}
		w.plan.add(Remove, func(ctx context.Context) error { return w.api().deleteHook(ctx, h) }, h.String(),
			fmt.Sprintf("a second one of namespace %s, to %s", h.Namespace, h.URL))
	}
}

// stepsOfOldToken ends a rotation: the hook sends the newest token, so the one before it goes.
func (w *work) stepsOfOldToken() {
	if w.known < 2 || len(w.hooks) == 0 {
		return
	}
	h := w.hooks[0]
	sends, shown := h.Sends(w.newest())
	switch {
	case w.entry.Get("webhook_tokens_file") == "":
		w.plan.note("two webhook tokens are in the companies file itself; take the older one away by hand when the hook sends the newer")
	case shown && !sends:
		w.plan.note("the older webhook token stays until the next run: the hook gets the newer one now")
	case h.Failing > 0:
		w.plan.note("the older webhook token stays: %d deliveries of hook %d wait to be made again; run this again when they are through", h.Failing, h.ID)
	case h.Failing < 0:
		w.plan.note("the older webhook token stays, as Procore does not say whether deliveries of hook %d wait to be made again: "+
			"take it (the first line) out of %s by hand, 12 hours after the hook got the newer one", h.ID, w.entry.Get("webhook_tokens_file"))
	default:
		w.plan.add(Remove, func(context.Context) error { return w.writeTokens(w.tokens[1:]) }, "older webhook token", "in "+w.entry.Get("webhook_tokens_file"))
	}
}

// stepsOfRemoval deletes our hooks, their triggers with them.
func (w *work) stepsOfRemoval() {
	for _, h := range w.hooks {
		detail := "with its triggers; to " + h.URL
		if h.Failing > 0 {
			detail += fmt.Sprintf("; %d deliveries that wait in it will not come", h.Failing)
		} else if h.Failing < 0 {
			detail += "; deliveries that wait in it will not come, and Procore does not say whether there are any"
		}
		w.plan.add(Remove, func(ctx context.Context) error { return w.api().deleteHook(ctx, h) }, h.String(), detail)
	}
	w.plan.note("what stays: the ERP connection in Procore (an administrator deactivates ERP Integrations there), the company's entry %s and its webhook token, "+
		"the links and the history in the broker, and the ERP's books. Take the entry out of the file and restart the services to end it all", "in "+w.Companies)
}
