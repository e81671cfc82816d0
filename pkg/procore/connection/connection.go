// Package connection reads and changes what connects a company with Tieback in Procore: its ERP connection and metadata, and its
// webhook with the trigger for ERP requests.
package connection

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

// API makes the calls for one company. Its methods may be called concurrently.
type API struct {
	Session *procore.Session
	Company int64
	Backoff time.Duration                     // before a read is retried
	Waiting func(d time.Duration, why string) // called before each wait of more than 10 s
}

// ERP is a company's ERP connection.
type ERP struct {
	ID       int64
	CodeList int64          // id of the standard cost code list
	Metadata map[string]any // nil: not shown
}

// do makes a call, up to four times after transient errors and rate limits. Its errors say what to do.
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
	return raw, explain(err)
}

// explain adds what to do to an error from Procore.
func explain(err error) error {
	var login *procore.LoginError
	var status *procore.StatusError
	switch {
	case errors.As(err, &login) && login.Status < 500:
		return fmt.Errorf("the login of Procore does not accept this client id and client secret: copy both again from the app in Procore's developer portal (or from the company's "+
			"service account). Procore's sandboxes and its federal zone have separate clients and hosts (TIEBACK_PROCORE_API_URL and TIEBACK_PROCORE_LOGIN_URL, "+
			"or api_url and login_url of a client): %w", err)
	case errors.As(err, &status) && status.Status == http.StatusForbidden:
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	return err
}

// ErrForbidden is Procore's 403, with what an administrator of the company must do.
var ErrForbidden = errors.New("the app lacks a permission. An administrator of the company in Procore must install the app (App Management), with the company " +
	"permissions Company Admin, Directory Admin and ERP Integrations Admin, and Webhooks API Standard, and choose the permitted projects; the app can't see other projects. " +
	"An older service account of one company needs the same permissions through its template in the Directory, with Can Push To Accounting selected. " +
	"ERP Integrations must be active for the company")

// object makes a call that returns an object.
func (a *API) object(ctx context.Context, c procore.Call) (map[string]any, error) {
	raw, err := a.do(ctx, c)
	if err != nil {
		return nil, err
	}
	var o map[string]any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber() // ids need 64 bits
	if err := dec.Decode(&o); err != nil {
		return nil, fmt.Errorf("%s: Procore's response can't be parsed: %w", c.Route.Name, err)
	}
	return o, nil
}

// list makes a call that returns a list, and returns its first page.
func (a *API) list(ctx context.Context, c procore.Call) ([]map[string]any, error) {
	raw, err := a.do(ctx, c)
	if err != nil {
		return nil, err
	}
	items, err := procore.ParseList(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: Procore's list can't be parsed: %w", c.Route.Name, err)
	}
	return items, nil
}

// Permitted makes a call that needs the permissions of the services.
func (a *API) Permitted(ctx context.Context) error {
	_, err := a.do(ctx, procore.Call{Route: procore.ListRequestDetails, Query: procore.Query("page", 1, "per_page", 1)})
	return err
}

// Clock makes the same call and returns Procore's time, to the second, or the zero time if the response has
// none.
func (a *API) Clock(ctx context.Context) (time.Time, error) {
	if err := a.Permitted(ctx); err != nil {
		return time.Time{}, err
	}
	page, err := a.Session.ReadPage(ctx, procore.Call{Route: procore.ListRequestDetails, Query: procore.Query("page", 1, "per_page", 1)}, 0)
	return page.Now, explain(err)
}

// ERP returns the company's ERP connection, or nil if there is none. Procore documents no call for
// this; shown is false if the inferred one does not exist.
func (a *API) ERP(ctx context.Context) (c *ERP, shown bool, err error) {
	items, err := a.list(ctx, procore.Call{Route: procore.ListConnections})
	var status *procore.StatusError
	switch {
	case errors.As(err, &status) && slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusBadRequest}, status.Status):
		return nil, false, nil
	case err != nil || len(items) == 0:
		return nil, err == nil, err
	}
	last := items[len(items)-1]
	c = &ERP{ID: procore.ID(last["id"]), CodeList: procore.ID(last["standard_cost_code_list_id"])}
	c.Metadata, _ = last["metadata"].(map[string]any)
	return c, true, nil
}

// CreateERP creates the company's ERP connection.
func (a *API) CreateERP(ctx context.Context, serviceURL string, metadata map[string]any) (ERP, error) {
	body := map[string]any{"connection": map[string]any{"service_url": serviceURL, "metadata": metadata}}
	o, err := a.object(ctx, procore.Call{Route: procore.CreateConnection, Body: body})
	return ERP{ID: procore.ID(o["id"]), CodeList: procore.ID(o["standard_cost_code_list_id"]), Metadata: metadata}, err
}

// UpdateMetadata updates the metadata of the connection.
func (a *API) UpdateMetadata(ctx context.Context, metadata map[string]any) error {
	_, err := a.do(ctx, procore.Call{Route: procore.UpdateMetadata, Body: map[string]any{"metadata": metadata}})
	return err
}
