package setup

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/webhooks"
)

// readEntry reads the company's entry and lays the options over it, in memory.
func (w *work) readEntry() (err error) {
	if w.file, err = company.Edit(w.Companies); err != nil {
		return usageError{err}
	}
	if w.entry = w.file.Entry(w.id()); w.entry == nil {
		w.fresh = true
		if w.entry, err = w.file.Add(w.id()); err != nil {
			return usageError{err}
		}
	}
	if err := w.given(); err != nil {
		return err
	}
	if w.tokens, err = w.entry.Tokens(); err != nil {
		return usageError{err}
	}
	w.known = len(w.tokens)
	if w.RotateToken && w.known > 0 && w.entry.Get("webhook_tokens_file") == "" {
		return usagef("--rotate-token: the webhook token is in the companies file itself; move it to a file that webhook_tokens_file names, then it can be rotated")
	}
	if w.company, err = w.entry.Company(); err != nil {
		if missing := w.missing(); w.fresh && missing != "" {
			return usagef("company %d is not in the companies file yet: give %s", w.id(), missing)
		}
		return usageError{err}
	}
	w.Namespace = cmp.Or(w.company.WebhookNamespace, Namespace)
	if w.Remove {
		return nil
	}
	if w.entry.Get("url") == "" {
		return usagef("--url is missing: ingest's public base, such as https://tieback.example.com; it is kept in the companies file")
	}
	if _, err := base(w.entry.Get("url")); err != nil {
		return err
	}
	return w.place()
}

// missing are the flags that a new entry needs and that were not given; "": none.
func (w *work) missing() string {
	var flags []string
	for _, f := range []struct {
		flag  string
		given bool
	}{
		{"--client-id", w.client != nil || w.entry.Get("client_id") != ""},
		{"--client-secret-file", w.client != nil || w.entry.Get("client_secret_file") != ""},
		{"--connector", w.entry.Connector()["driver"] != ""},
		{"--url", w.entry.Get("url") != "" || w.Remove},
	} {
		if !f.given {
			flags = append(flags, f.flag)
		}
	}
	if last := len(flags) - 1; last > 0 {
		return strings.Join(flags[:last], ", ") + " and " + flags[last]
	}
	if len(flags) == 1 && flags[0] == "--connector" {
		return "--connector driver=ledger, or another driver with its settings"
	}
	return strings.Join(flags, "")
}

// given lays the options over the entry.
func (w *work) given() error {
	if err := w.namedClient(); err != nil {
		return err
	}
	clientID, secretFile := w.ClientID, w.ClientSecretFile
	if w.client != nil {
		clientID, secretFile = "", ""
	}
	for _, o := range []struct{ name, value string }{
		{"name", w.Name}, {"client_id", clientID}, {"client_secret_file", secretFile}, {"metadata_file", w.MetadataFile}, {"time_zone", w.TimeZone}, {"since", w.Since}, {"url", w.URL}, {"webhook_namespace", w.Namespace},
	} {
		if o.value == "" {
			continue
		}
		value := o.value
		if strings.HasSuffix(o.name, "_file") { // it is read by processes that were started elsewhere
			var err error
			if value, err = filepath.Abs(value); err != nil {
				return err
			}
		}
		if w.entry.Set(o.name, value) {
			w.fields = append(w.fields, o.name)
		}
	}
	if secretFile != "" && w.entry.Drop("client_secret") {
		w.fields = append(w.fields, "client_secret")
	}
	if w.CodeList != 0 && w.entry.SetNumber("standard_cost_code_list_id", w.CodeList) {
		w.fields = append(w.fields, "standard_cost_code_list_id")
	}
	if w.Options.Connector != nil && !maps.Equal(w.Options.Connector, w.entry.Connector()) {
		if w.Options.Connector["driver"] == "" {
			return usagef("--connector: names no driver; write driver=remote,address=HOST:PORT")
		}
		if driver := w.entry.Connector()["driver"]; driver != "" && driver != w.Options.Connector["driver"] {
			w.fields = append(w.fields, "connector.driver")
		}
		w.entry.SetConnector(w.Options.Connector, order(w.Options.Connector))
		w.fields = append(w.fields, "connector")
	}
	return nil
}

// order puts the driver before its settings.
func order(connector map[string]string) []string {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(connector)), func(n string) bool { return n == "driver" })
	return append([]string{"driver"}, names...)
}

// place gives the webhook token a file, where the entry has neither.
func (w *work) place() error {
	if w.entry.Get("webhook_tokens_file") != "" || len(w.tokens) > 0 {
		return nil
	}
	dir, err := w.file.Dir()
	if err != nil {
		return err
	}
	w.entry.Drop("webhook_tokens") // an empty list
	w.entry.Set("webhook_tokens_file", filepath.Join(dir, fmt.Sprintf("%d.webhook-tokens", w.id())))
	w.fields = append(w.fields, "webhook_tokens_file")
	w.tokens, err = w.entry.Tokens() // of a run that was cut off
	w.known = len(w.tokens)
	if err != nil {
		return usageError{err}
	}
	return nil
}

// newToken makes a token: 32 random bytes in hex.
func newToken() company.Secret {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails; see crypto/rand
	return company.Secret(hex.EncodeToString(raw))
}

// writeTokens writes the tokens to their file, and remembers them once they are there. What another setup put
// there since this one looked is left alone: a hook may send it.
func (w *work) writeTokens(tokens []company.Secret) error {
	path := w.entry.Get("webhook_tokens_file")
	meanwhile := fmt.Errorf("webhook_tokens_file: somebody changed %s meanwhile, so it was left alone: run this again", path)
	if now, err := w.entry.Tokens(); err != nil || !slices.Equal(now, w.tokens) {
		return errors.Join(meanwhile, err)
	}
	var b strings.Builder
	for _, t := range tokens {
		b.WriteString(string(t) + "\n")
	}
	write := company.WriteFile
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		write = createFile
	}
	switch err := write(path, []byte(b.String())); {
	case errors.Is(err, fs.ErrExist):
		return meanwhile
	case err != nil:
		return fmt.Errorf("webhook_tokens_file: %w", err)
	}
	w.tokens = tokens
	return w.writeHashes()
}

// hashes are those of the company's tokens.
func (w *work) hashes() []webhooks.Hash {
	var all []webhooks.Hash
	for _, t := range w.tokens {
		all = append(all, webhooks.HashOf(string(t)))
	}
	return all
}

// writeHashes brings the company's entry in ingest's file up to its tokens; without tokens it takes it out.
func (w *work) writeHashes() error {
	all, err := webhooks.ReadOrNone(w.Webhooks)
	if err != nil {
		return fmt.Errorf("webhook hashes: %w", err)
	}
	delete(all, w.id())
	if len(w.tokens) > 0 {
		all[w.id()] = w.hashes()
	}
	if err := company.WriteWebhooks(w.Webhooks, all); err != nil {
		return fmt.Errorf("webhook hashes: %w", err)
	}
	return nil
}

// stepOfHashes plans to write ingest's file where it is behind the tokens, as after an edit by hand.
func (w *work) stepOfHashes() {
	all, err := webhooks.ReadOrNone(w.Webhooks)
	if err == nil && slices.Equal(all[w.id()], w.hashes()) || len(w.tokens) == 0 {
		return // the step that makes the tokens writes it too
	}
	w.plan.add(Change, func(context.Context) error { return w.writeHashes() }, "webhook hashes for ingest", w.Webhooks)
}

// createFile is company.WriteFile for a file that must not be there yet: of two that make it at once one gets
// fs.ErrExist, and nobody ever sees half of it.
func createFile(path string, raw []byte) error {
	whole := fmt.Sprintf("%s.%.16s", path, string(newToken()))
	if err := company.WriteFile(whole, raw); err != nil {
		return err
	}
	return errors.Join(os.Link(whole, path), os.Remove(whole))
}

// stepsOfFiles plans the tokens file and the entry.
func (w *work) stepsOfFiles() {
	path := w.entry.Get("webhook_tokens_file")
	switch {
	case len(w.tokens) == 0:
		w.plan.add(Create, func(context.Context) error { return w.writeTokens([]company.Secret{newToken()}) },
			"webhook token", "random, in "+path)
	case w.RotateToken && len(w.tokens) == 1:
		w.plan.add(Change, func(context.Context) error { return w.writeTokens(append(slices.Clone(w.tokens), newToken())) },
			"webhook token", "a new one beside the old, both count, in "+path)
	default:
		w.plan.add(Keep, nil, "webhook token", fmt.Sprintf("%d in the companies file or the file that it names", len(w.tokens)))
	}
	w.stepOfHashes()
	w.stepOfClient()
	switch {
	case w.fresh:
		w.plan.add(Create, w.save, "entry in the companies file", w.Companies)
	case len(w.fields) > 0:
		w.plan.add(Change, w.save, "entry in the companies file", strings.Join(w.fields, ", "))
	default:
		w.plan.add(Keep, nil, "entry in the companies file", w.Companies)
	}
}

func (w *work) save(context.Context) error {
	if err := w.file.Save(w.id()); err != nil {
		return err
	}
	if w.fresh {
		w.plan.Restart = []string{"the company is new"}
		w.fresh, w.made = false, true
	}
	for _, f := range w.fields {
		if !w.made && slices.Contains([]string{"name", "standard_cost_code_list_id", "metadata_file", "connector.driver", "webhook_namespace", "time_zone", "since", "client"}, f) {
			w.plan.Restart = append(w.plan.Restart, f+" has changed")
		}
	}
	w.fields = nil
	return nil
}
