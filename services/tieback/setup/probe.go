package setup

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore/connection"
)

// reach is ingest's response to a test delivery, which has no content and is not stored.
type reach int

const (
	notProbed reach = iota
	accepts         // ingest accepts the token
	refuses         // ingest does not know the company or the token yet
	silent          // nothing responded, or something other than ingest did; Procore may still reach ingest
)

func (w *work) probe(ctx context.Context, token company.Secret) reach {
	if w.entry.Get("url") == "" {
		return notProbed
	}
	accepted, err := connection.Probe(ctx, w.Client, w.destination(), w.id(), token)
	switch {
	case err != nil:
		return silent
	case accepted:
		return accepts
	}
	return refuses
}

// probeTokens asks ingest about the tokens in the file, and about the token that the hook sends, which may no
// longer be in the file.
func (w *work) probeTokens(ctx context.Context) {
	for _, t := range w.tokens {
		w.reached = w.probe(ctx, t) // the newest is the last
		w.served = better(w.served, w.reached)
	}
	if len(w.hooks) == 0 || w.hooks[0].URL != w.destination() {
		return
	}
	if _, masked := w.hooks[0].End(); masked {
		return
	}
	if sent, is := strings.CutPrefix(w.hooks[0].Header, "Bearer "); is && !slices.Contains(w.tokens, company.Secret(sent)) {
		w.served = better(w.served, w.probe(ctx, company.Secret(sent)))
	}
}

// probed reports whether the token that the hook sends is known, so that probeTokens could probe it: Procore
// shows it completely, or its visible end matches a token in the file. If it is not known, the hook may send a
// token that ingest accepts but that is not in the file.
func (w *work) probed(h connection.Hook) bool {
	if _, masked := h.End(); !masked {
		return h.Header != ""
	}
	return slices.ContainsFunc(w.tokens, func(t company.Secret) bool { sends, _ := h.Sends(t); return sends })
}

// better combines the responses to two tokens: accepts if ingest accepts one of them, otherwise silent if ingest
// did not respond to one, otherwise refuses. It is notProbed if neither token was probed.
func better(a, b reach) reach {
	for _, r := range []reach{accepts, silent, refuses} {
		if a == r || b == r {
			return r
		}
	}
	return notProbed
}

// await waits until ingest accepts the newest token, so that the hook does not replace a valid token with a
// refused one. It does not wait if the hook already sends the newest token, if ingest refuses every token that
// the hook may send, if ingest can't be reached and there is no other token, or with --without-ingest.
func (w *work) await(ctx context.Context) error {
	sends, _ := w.sends(w.hooks[0])
	if w.served == notProbed { // there was no token yet
		w.served = w.probe(ctx, w.newest())
	}
	switch {
	case sends, w.WithoutIngest, w.served == refuses && w.probed(w.hooks[0]), w.served == silent && len(w.tokens) == 1:
		return nil
	case w.served == silent:
		return fmt.Errorf("ingest can't be reached at %s from here to check the new webhook token, so the hook was not changed, and both tokens are valid: "+
			"run this again where ingest can be reached, or with --without-ingest once every ingest has read the new token", w.entry.Get("url"))
	}
	until := time.Now().Add(w.Patience)
	for w.probe(ctx, w.newest()) != accepts {
		if time.Now().After(until) {
			return fmt.Errorf("ingest does not accept the new webhook token after %v, so the hook was not changed: "+
				"check that ingest has the newest file of webhook token hashes, which setup wrote to %s; if ingest runs in `tieback run`, check that this reads %s, and restart it if the company is new. "+
				"Then run this again; with --without-ingest setup does not wait", w.Patience, w.Webhooks, w.Companies)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(w.Backoff, time.Second)):
		}
	}
	return nil
}
