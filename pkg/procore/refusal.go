package procore

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// StoreKey is the key under which a Store keeps the limits of a company's client; client is its name, "" where it is
// the company's own.
func StoreKey(company int64, client string) string {
	if client != "" {
		return "client-" + client
	}
	return strconv.FormatInt(company, 10)
}

// LoginKey is the key under which a Store keeps that Procore refuses the credentials of a company's client.
func LoginKey(company int64, client string) string { return loginKey(StoreKey(company, client)) }

func loginKey(limits string) string { return "login-" + limits }

// Refusal says that Procore refuses a client's credentials. A Store keeps it until a login succeeds in any process.
type Refusal struct {
	Since  time.Time `json:"since"`
	Status int       `json:"status"`         // of the login's answer
	Until  time.Time `json:"until,omitzero"` // the end of the token from before, which is used meanwhile; zero: there is none
}

// ReadRefusal reads what a Store keeps at a LoginKey; false: Procore does not refuse the credentials, as far as
// is known.
func ReadRefusal(raw []byte) (r Refusal, refused bool, err error) {
	if len(raw) == 0 {
		return r, false, nil
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, false, fmt.Errorf("the store holds what no service of ours wrote: %w", err)
	}
	return r, true, nil
}

// keepRefusal keeps a refusal in the store, or that there is none. The time of the first one stays. A store that
// does not answer is left alone: the next login tries again.
func (a *account) keepRefusal(r *Refusal) {
	store, key := a.meter.store, loginKey(a.meter.key)
	if store == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	raw, revision, err := store.Read(ctx, key)
	if err != nil {
		return
	}
	was, refused, _ := ReadRefusal(raw)
	switch {
	case r == nil && !refused:
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
		if raw, err = json.Marshal(r); err != nil {
			return
		}
	}
	_, _, _ = store.Swap(ctx, key, raw, revision) // whoever wrote meanwhile knows as much
}
