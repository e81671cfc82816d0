package setup

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/company"
)

// namedClient applies the client options to the client that the company refers to. It adds the client if
// --client names a new one. Without a named client the options apply to the company's entry.
func (w *work) namedClient() error {
	name := w.entry.Get("client")
	switch {
	case w.ClientName != "" && !company.ValidClientName(w.ClientName):
		return usagef("--client: may only contain a-z, 0-9 and -, and at most 40 characters")
	case w.ClientName != "":
		for _, own := range []string{"client_id", "client_secret", "client_secret_file"} {
			if w.entry.Drop(own) {
				w.fields = append(w.fields, own)
			}
		}
		if name != w.ClientName {
			w.entry.Set("client", w.ClientName)
			w.fields = append(w.fields, "client")
		}
		name = w.ClientName
	case name != "" && (w.ClientID != "" || w.ClientSecretFile != ""):
		return usagef("the company has the client %s, which other companies may use too: give --client %s to change it for all of them", name, name)
	case name == "" && (w.APIURL != "" || w.LoginURL != ""):
		return usagef("--api-url and --login-url belong to a named client: give --client NAME as well")
	}
	if name == "" {
		return nil
	}
	var err error
	if w.client = w.file.Client(name); w.client == nil {
		if w.ClientID == "" || w.ClientSecretFile == "" {
			return usagef("there is no client %s in the companies file yet: give --client-id and --client-secret-file, and for another zone of Procore --api-url and --login-url", name)
		}
		w.freshClient = true
		if w.client, err = w.file.AddClient(name); err != nil {
			return usageError{err}
		}
	}
	path := w.ClientSecretFile
	if path != "" { // services read it from other working directories
		if path, err = filepath.Abs(path); err != nil {
			return err
		}
	}
	for _, o := range []struct{ name, value string }{
		{"client_id", w.ClientID}, {"client_secret_file", path}, {"api_url", w.APIURL}, {"login_url", w.LoginURL},
	} {
		if o.value != "" && w.client.Set(o.name, o.value) {
			w.clientFields = append(w.clientFields, o.name)
		}
	}
	if path != "" && w.client.Drop("client_secret") {
		w.clientFields = append(w.clientFields, "client_secret")
	}
	return nil
}

// stepOfClient plans the changes of the named client.
func (w *work) stepOfClient() {
	if w.client == nil {
		return
	}
	what := "client " + w.client.Get("name") + " in the companies file"
	switch {
	case w.freshClient:
		w.plan.add(Create, w.saveClient, what, w.Companies)
	case len(w.clientFields) > 0:
		w.plan.add(Change, w.saveClient, what, strings.Join(w.clientFields, ", ")+", for all companies that use it")
	default:
		w.plan.add(Keep, nil, what, w.Companies)
	}
}

// saveClient writes the file with the client and the entry.
func (w *work) saveClient(ctx context.Context) error {
	if err := w.save(ctx); err != nil {
		return err
	}
	for _, f := range w.clientFields {
		if !w.freshClient && slices.Contains([]string{"api_url", "login_url"}, f) {
			w.plan.Restart = append(w.plan.Restart, "the client's "+f+" has changed")
		}
	}
	w.freshClient, w.clientFields = false, nil
	return nil
}
