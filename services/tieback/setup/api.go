package setup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/tieback/tieback/pkg/procore"
)

// API is the part of Procore's API by which a company is connected.
type API struct {
	Session *procore.Session
	Company int64
	Backoff time.Duration                     // before a second try of a call that reads
	Waiting func(d time.Duration, why string) // told of each wait
}

// Connection is a company's ERP connection as Procore shows it.
type Connection struct {
	ID       int64
	CodeList int64          // standard cost code list
	Metadata map[string]any // nil: not shown
}

// do makes a call, and again after a transient error or a rate limit, three times at most. Its errors are in plain words.
func (a *API) do(ctx context.Context, c procore.Call) ([]byte, error) {
	session := a.Session.Retrying(procore.Retry{
		Attempts: 4, Backoff: a.Backoff, Interactive: true, Limits: 3,
		Waiting: func(d time.Duration, why string) error {
			if d > 10*time.Second { // a shorter wait needs no message
				a.Waiting(d, why)
			}
			return nil
		},
	})
	raw, err := session.Do(ctx, c)
	return raw, inWords(err)
}

// inWords says what to do about an error of Procore's.
func inWords(err error) error {
	var login *procore.LoginError
	var status *procore.StatusError
	switch {
	case errors.As(err, &login) && login.Status < 500:
		return fmt.Errorf("the login of Procore does not know this client id with this client secret: take both anew from the app in Procore's developer portal (or from the company's "+
			"service account), and mind that Procore's sandboxes and its federal zone have clients and hosts of their own (TIEBACK_PROCORE_API_URL and TIEBACK_PROCORE_LOGIN_URL, "+
			"or api_url and login_url of a client): %w", err)
	case errors.As(err, &status) && status.Status == http.StatusForbidden:
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	return err
}

// ErrForbidden is Procore's 403, with what an administrator of the company does about it.
var ErrForbidden = errors.New("the app may not do this. An administrator of the company in Procore installs the app (App Management), with the company " +
	"permissions Company Admin, Directory Admin and ERP Integrations Admin, and Webhooks API Standard, and chooses the permitted projects; what is not permitted is not visible to it. " +
	"An older service account of the company alone needs the same permissions by its template in the Directory, with Can Push To Accounting ticked. " +
	"ERP Integrations must be active for the company")

// object makes a call whose answer is an object.
func (a *API) object(ctx context.Context, c procore.Call) (map[string]any, error) {
	raw, err := a.do(ctx, c)
	if err != nil {
		return nil, err
	}
	var o map[string]any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber() // ids need 64 bits
	if err := dec.Decode(&o); err != nil {
		return nil, fmt.Errorf("%s: Procore's answer does not parse: %w", c.Route.Name, err)
	}
	return o, nil
}

// list makes a call whose answer is a list, of which the first page is enough.
func (a *API) list(ctx context.Context, c procore.Call) ([]map[string]any, error) {
	raw, err := a.do(ctx, c)
	if err != nil {
		return nil, err
	}
	items, err := procore.ParseList(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: Procore's list does not parse: %w", c.Route.Name, err)
	}
	return items, nil
}

// Permitted makes a call that needs the permissions which the services need.
func (a *API) Permitted(ctx context.Context) error {
	_, err := a.do(ctx, procore.Call{Route: procore.ListRequestDetails, Query: procore.Query("page", 1, "per_page", 1)})
	return err
}

// Clock makes the same call, and gives Procore's time to the second; zero: it did not say.
func (a *API) Clock(ctx context.Context) (time.Time, error) {
	if err := a.Permitted(ctx); err != nil {
		return time.Time{}, err
	}
	page, err := a.Session.ReadPage(ctx, procore.Call{Route: procore.ListRequestDetails, Query: procore.Query("page", 1, "per_page", 1)}, 0)
	return page.Now, inWords(err)
}

// Connection gives the company's ERP connection, nil where there is none. Procore documents no way to ask, so
// that shown is false where the inferred one is not there.
func (a *API) Connection(ctx context.Context) (c *Connection, shown bool, err error) {
	items, err := a.list(ctx, procore.Call{Route: procore.ListConnections})
	var status *procore.StatusError
	switch {
	case errors.As(err, &status) && slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusBadRequest}, status.Status):
		return nil, false, nil
	case err != nil || len(items) == 0:
		return nil, err == nil, err
	}
	last := items[len(items)-1]
	c = &Connection{ID: procore.ID(last["id"]), CodeList: procore.ID(last["standard_cost_code_list_id"])}
	c.Metadata, _ = last["metadata"].(map[string]any)
	return c, true, nil
}

// CreateConnection makes the company's ERP connection.
func (a *API) CreateConnection(ctx context.Context, serviceURL string, metadata map[string]any) (Connection, error) {
	body := map[string]any{"connection": map[string]any{"service_url": serviceURL, "metadata": metadata}}
	o, err := a.object(ctx, procore.Call{Route: procore.CreateConnection, Body: body})
	return Connection{ID: procore.ID(o["id"]), CodeList: procore.ID(o["standard_cost_code_list_id"]), Metadata: metadata}, err
}

// UpdateMetadata tells Procore the connection's metadata anew.
func (a *API) UpdateMetadata(ctx context.Context, metadata map[string]any) error {
	_, err := a.do(ctx, procore.Call{Route: procore.UpdateMetadata, Body: map[string]any{"metadata": metadata}})
	return err
}
