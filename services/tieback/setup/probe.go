package setup

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/company"
)

// reach is how ingest answered a delivery of ours, which is about nothing and so stored nowhere.
type reach int

const (
	unasked reach = iota
	accepts       // it is there, and takes the token
	refuses       // it is there, and knows neither the company nor the token yet
	silent        // no answer from here, or somebody else's; Procore may reach it all the same
)

// Probe asks ingest at a company's destination whether it takes a token: true, false, or an error where it
// can't be told from here.
func Probe(ctx context.Context, client *http.Client, destination string, id int64, token company.Secret) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	body := fmt.Appendf(nil, `{"id":0,"event_type":"probe","resource_name":"Tieback Setup","resource_id":0,"company_id":%d}`, id)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, destination, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+string(token))
	alone := *client
	alone.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // the token is for nobody else
	resp, err := alone.Do(req)
	if err != nil {
		return false, err
	}
	_ = resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return true, nil
	case http.StatusUnauthorized:
		return false, nil
	}
	return false, fmt.Errorf("%s answered %d, which ingest would not", destination, resp.StatusCode)
}

func (w *work) probe(ctx context.Context, token company.Secret) reach {
	if w.entry.Get("url") == "" {
		return unasked
	}
	takes, err := Probe(ctx, w.Client, w.destination(), w.id(), token)
	switch {
	case err != nil:
		return silent
	case takes:
		return accepts
	}
	return refuses
}

// ask finds out what ingest takes: of the tokens in the file, and of what the hook sends, which may be one that
// the file has lost.
func (w *work) ask(ctx context.Context) {
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

// asked reports whether ingest was asked about the token that the hook sends: Procore shows it whole, or what it
// shows is the end of one in the file. Otherwise the hook may send a token that the file has lost and ingest takes.
func (w *work) asked(h Hook) bool {
	if _, masked := h.End(); !masked {
		return h.Header != ""
	}
	return slices.ContainsFunc(w.tokens, func(t company.Secret) bool { sends, _ := h.Sends(t); return sends })
}

// better is what two answers say together: one that takes its token says that the company is served, and one
// that did not come leaves it open.
func better(a, b reach) reach {
	for _, r := range []reach{accepts, silent, refuses} {
		if a == r || b == r {
			return r
		}
	}
	return unasked
}

// await waits until ingest takes the newest token, before the hook sends it instead of one that may count now.
// It does not wait where there is nothing to lose: the hook sends it already, or ingest takes nothing that the
// hook can be sending, or nobody answers and the newest token is the only one.
func (w *work) await(ctx context.Context) error {
	sends, _ := w.sends(w.hooks[0])
	if w.served == unasked { // there was no token yet
		w.served = w.probe(ctx, w.newest())
	}
	switch {
	case sends, w.WithoutIngest, w.served == refuses && w.asked(w.hooks[0]), w.served == silent && len(w.tokens) == 1:
		return nil
	case w.served == silent:
		return fmt.Errorf("ingest can't be asked at %s from here whether it takes the new webhook token, so the hook was left as it is, and both tokens count: "+
			"run this again where it can be asked, or with --without-ingest once every ingest has read the file", w.entry.Get("url"))
	}
	until := time.Now().Add(w.Patience)
	for w.probe(ctx, w.newest()) != accepts {
		if time.Now().After(until) {
			return fmt.Errorf("ingest does not take the new webhook token from its file after %v, so the hook was left as it is: "+
				"can the services read the file, is it the one that they read, and were they restarted if the company is new? Then run this again; --without-ingest does not wait", w.Patience)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(w.Backoff, time.Second)):
		}
	}
	return nil
}
