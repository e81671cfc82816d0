package procore

import (
	"context"
	"time"

	"github.com/tieback/tieback/pkg/company"
)

// LoginKey is the key under which a Store keeps the Refusal of a company's client.
func LoginKey(company int64, client string) string { return loginKey(StoreKey(company, client)) }

func loginKey(limits string) string { return "login-" + limits }

// Refusal says that Procore refuses a client's credentials. A Store keeps it until a login succeeds in any process.
type Refusal struct {
	Since  time.Time `json:"since"`
	Status int       `json:"status"`         // of the login's answer
	Until  time.Time `json:"until,omitzero"` // when the previous token expires, which is used until then; zero: there is none
}

// Seal returns the refusal as a Store keeps it at the LoginKey of a company's client in place of the revision after.
// It is sealed with the secret that Procore refuses. An old one that is written again is therefore taken only while
// the companies file has a secret that Procore has refused before.
func (r Refusal) Seal(id int64, client *company.Client, after uint64) ([]byte, error) {
	return seal(r, LoginKey(id, client.Name), string(client.Credentials().Secret), after)
}

// ReadRefusal reads what a Store keeps at the LoginKey of a company's client; false: Procore does not refuse the
// credentials, as far as is known. A value that was not sealed with the client's secret is an error.
func ReadRefusal(raw []byte, id int64, client *company.Client) (r Refusal, refused bool, err error) {
	if len(raw) == 0 {
		return r, false, nil
	}
	r, _, err = unseal[Refusal](raw, LoginKey(id, client.Name), string(client.Credentials().Secret))
	return r, err == nil, err
}

// keepRefusal stores a refusal, or deletes it if r is nil. Since stays that of the first one. Errors of the store are ignored,
// as the next login writes again.
func (a *account) keepRefusal(r *Refusal) {
	store, key, id := a.store, loginKey(a.storeKey()), a.companies[0].company.ID
	if store == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	raw, revision, err := store.Read(ctx, key)
	if err != nil {
		return
	}
	was, refused, _ := ReadRefusal(raw, id, a.client) // a value of another writer is replaced
	switch {
	case r == nil && len(raw) == 0:
		return
	case r == nil:
		raw = nil
	default:
		if refused {
			r.Since = was.Since
			if was.Until.After(r.Until) { // another process has a token still
				r.Until = was.Until
			}
		}
		if raw, err = r.Seal(id, a.client, revision); err != nil {
			return
		}
	}
	_, _, _ = store.Swap(ctx, key, raw, revision) // if another process has written, its value is as recent
}
