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

// Sends reports whether the hook sends a token, as far as Procore shows its header: all of it, or only its last
// characters. Shown is false where Procore shows too little to tell.
func (h Hook) Sends(token company.Secret) (sends, shown bool) {
	want := "Bearer " + string(token)
	if subtle.ConstantTimeCompare([]byte(h.Header), []byte(want)) == 1 {
		return true, true
	}
	end, masked := h.End()
	if !masked {
		return false, h.Header != ""
	}
	return end != "" && strings.HasSuffix(want, end), end != ""
}

// shownEnd is how many characters Procore shows at the end of a masked header, as its reference has it.
const shownEnd = 5

// End is what Procore shows of a masked header; "": nothing to compare. Masked is false where the header is not
// shown, or shown whole. Procore does not document how it masks: here are stars, dots and one repeated letter.
func (h Hook) End() (end string, masked bool) {
	hidden, end := h.Header[:max(0, len(h.Header)-shownEnd)], h.Header[max(0, len(h.Header)-shownEnd):]
	mask, whole := strings.CutPrefix(hidden, "Bearer ")
	if h.Header == "" || whole && mask != "" && !strings.ContainsAny(mask, maskSigns) && strings.Trim(mask, mask[:1]) != "" {
		return "", false
	}
	if strings.ContainsAny(end, maskSigns) {
		return "", true
	}
	return end, true
}

const maskSigns = "*•●…#[]<>"

// sends is Hook.Sends of the newest token. Where the visible end is an older token's as well it tells nothing.
func (w *work) sends(h Hook) (sends, shown bool) {
	sends, shown = h.Sends(w.newest())
	_, masked := h.End()
	for _, older := range w.tokens[:max(0, len(w.tokens)-1)] {
		if also, _ := h.Sends(older); masked && sends && also {
			return false, false
		}
	}
	return sends, shown
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
	sends, shown := w.sends(h)
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
	sends, shown := w.sends(h)
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
		"the links and the history in the broker, and the ERP's books. Take the entry out of the file and restart the services to end it all. "+
		"If the company is connected again later, give setup --since: what was clicked before is then not worked", "in "+w.Companies)
}
