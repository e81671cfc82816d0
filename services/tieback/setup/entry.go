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
	"github.com/tieback/tieback/pkg/procore/connection"
	"github.com/tieback/tieback/pkg/tokenhash"
)

// readEntry reads the company's entry and applies the options to it, in memory.
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
	if err := w.applyOptions(); err != nil {
		return err
	}
	if w.tokens, err = w.entry.Tokens(); err != nil {
		return usageError{err}
	}
	w.known = len(w.tokens)
	if w.RotateToken && w.known > 0 && w.entry.Get("webhook_tokens_file") == "" {
		return usagef("--rotate-token: the webhook token is in the companies file itself; move it to a file and name that in webhook_tokens_file, then rotate it")
	}
	if w.company, err = w.entry.Company(); err != nil {
		if missing := w.missing(); w.fresh && missing != "" {
			return usagef("company %d is not in the companies file yet: give %s", w.id(), missing)
		}
		return usageError{err}
	}
	w.Namespace = cmp.Or(w.company.WebhookNamespace, connection.Namespace)
	if w.Remove {
		return nil
	}
	if w.entry.Get("url") == "" {
		return usagef("--url is missing: the public base URL of ingest, such as https://tieback.example.com; it is stored in the companies file")
	}
	if _, err := base(w.entry.Get("url")); err != nil {
		return err
	}
	return w.setTokensFile()
}

// missing returns the flags that a new entry needs and that were not given, or "".
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

// applyOptions applies the options to the entry.
func (w *work) applyOptions() error {
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
		if strings.HasSuffix(o.name, "_file") { // services read it from other working directories
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

// order returns the names of the settings, the driver first.
func order(connector map[string]string) []string {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(connector)), func(n string) bool { return n == "driver" })
	return append([]string{"driver"}, names...)
}

// setTokensFile names a file for the webhook token, if the entry has neither a file nor a token.
func (w *work) setTokensFile() error {
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
	w.tokens, err = w.entry.Tokens() // an interrupted run may have left some
	w.known = len(w.tokens)
	if err != nil {
		return usageError{err}
	}
	return nil
}

// newToken returns a new token: 32 random bytes in hex.
func newToken() company.Secret {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails; see crypto/rand
	return company.Secret(hex.EncodeToString(raw))
}

// writeTokens writes the tokens to their file, and sets w.tokens after that. If another setup changed the
// file since this one read it, the file is not overwritten: a hook may already use a token that the other setup wrote.
func (w *work) writeTokens(tokens []company.Secret) error {
	path := w.entry.Get("webhook_tokens_file")
	changed := fmt.Errorf("webhook_tokens_file: %s was changed in the meantime and was not overwritten: run this again", path)
	if now, err := w.entry.Tokens(); err != nil || !slices.Equal(now, w.tokens) {
		return errors.Join(changed, err)
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
		return changed
	case err != nil:
		return fmt.Errorf("webhook_tokens_file: %w", err)
	}
	w.tokens = tokens
	return w.writeHashes()
}

// hashes returns the hashes of the company's tokens.
func (w *work) hashes() []tokenhash.Hash {
	var all []tokenhash.Hash
	for _, t := range w.tokens {
		all = append(all, tokenhash.Of(string(t)))
	}
	return all
}

// writeHashes updates the company's entry in the file of webhook token hashes. Without tokens it removes the entry.
func (w *work) writeHashes() error {
	all, err := tokenhash.ReadOrNone(w.Webhooks)
	if err != nil {
		return fmt.Errorf("webhook token hashes: %w", err)
	}
	delete(all, w.id())
	if len(w.tokens) > 0 {
		all[w.id()] = w.hashes()
	}
	if err := company.WriteWebhookTokenHashes(w.Webhooks, all); err != nil {
		return fmt.Errorf("webhook token hashes: %w", err)
	}
	return nil
}

// stepOfHashes plans to update the file of webhook token hashes if it differs from the tokens, for example after
// a manual edit.
func (w *work) stepOfHashes() {
	all, err := tokenhash.ReadOrNone(w.Webhooks)
	if err == nil && slices.Equal(all[w.id()], w.hashes()) || len(w.tokens) == 0 {
		return // the step that creates the token writes its hash too
	}
	w.plan.add(Change, func(context.Context) error { return w.writeHashes() }, "webhook token hashes for ingest", w.Webhooks)
}

// createFile is company.WriteFile for a file that must not exist. If two processes create it at once, one
// gets fs.ErrExist. The file is never visible incompletely.
func createFile(path string, raw []byte) error {
	whole := fmt.Sprintf("%s.%.16s", path, string(newToken()))
	if err := company.WriteFile(whole, raw); err != nil {
		return err
	}
	return errors.Join(os.Link(whole, path), os.Remove(whole))
}

// stepsOfFiles plans the changes of the tokens file and the entry.
func (w *work) stepsOfFiles() {
	path := w.entry.Get("webhook_tokens_file")
	switch {
	case len(w.tokens) == 0:
		w.plan.add(Create, func(context.Context) error { return w.writeTokens([]company.Secret{newToken()}) },
			"webhook token", "random, in "+path)
	case w.RotateToken && len(w.tokens) == 1:
		w.plan.add(Change, func(context.Context) error { return w.writeTokens(append(slices.Clone(w.tokens), newToken())) },
			"webhook token", "a new one in addition to the old one, both valid, in "+path)
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
