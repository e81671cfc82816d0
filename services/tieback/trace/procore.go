package trace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/erplog"
)

// Asked is what Procore itself says of the request.
type Asked struct {
	Known   bool       `json:"known"`           // it has such a request
	Type    string     `json:"type"`            // as Procore names it; "": not told
	Created *time.Time `json:"created_at"`      // null: not told
	Details []Detail   `json:"request_details"` // where their list could not be read, only those that were found
	Calls   int        `json:"procore_calls"`
}

// Detail is a request detail of the payload and where it stands in Procore's list.
type Detail struct {
	ID     int64  `json:"id"`
	Status string `json:"status"` // "": the list does not have it
}

// ask asks Procore: one call for the request, and, where it carries request details, one for each
// thousand of the company's list, from its newest end, until they are found or the list is older than the click.
func (r *reading) ask(ctx context.Context) []procore.Detail {
	calls := new(atomic.Int32)
	raw, err := r.request(procore.Counted(ctx, calls))
	if err != nil && !procore.Gone(err) {
		r.unread("Procore", err)
		return nil
	}
	r.Story.Procore = &Asked{Known: err == nil, Details: []Detail{}, Calls: int(calls.Load())}
	if err != nil {
		return nil
	}
	r.Story.Procore.read(raw)
	return r.details(ctx, procore.RequestDetails(raw))
}

// patience is how long Procore is waited for altogether.
const patience = time.Minute

// request asks for the request itself, and waits out a short rate limit.
func (r *reading) request(ctx context.Context) ([]byte, error) {
	session := r.Options.Procore.Retrying(procore.Retry{Limits: procore.Forever, Waiting: r.mayWait})
	return session.Do(ctx, procore.Call{Route: procore.GetERPRequest, ID: r.Options.Request})
}

// mayWait reports a wait; its error says that the wait would be longer than our patience.
func (r *reading) mayWait(d time.Duration, why string) error {
	now := time.Now()
	if r.waited += d; r.waited > patience {
		return fmt.Errorf("%s: run it again at about %s", why, clock(now.Add(d), now))
	}
	if r.Waiting != nil {
		r.Waiting(d, why)
	}
	return nil
}

func (a *Asked) read(raw []byte) {
	var request struct {
		Name    string `json:"request_name"`
		Created any    `json:"created_at"`
	}
	if json.Unmarshal(raw, &request) != nil {
		return // the fetcher would not understand it either, and says so
	}
	a.Type = request.Name
	text, _ := request.Created.(string)
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		at = at.UTC()
		a.Created = &at
	}
}

// early is how much older than its request a request detail may be, generously: both are made by the click.
const early = 24 * time.Hour

var errFound = errors.New("all found")

// details looks up where request details stand.
func (r *reading) details(ctx context.Context, ids []int64) []procore.Detail {
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	reader := &erplog.Reader{Session: r.Options.Procore, Company: r.Options.Company, Backoff: r.Backoff, Waiting: func(d time.Duration, why string) {
		if err := r.mayWait(d, why); err != nil {
			cancel(err) // which ends the wait
		}
	}}
	if at := r.Story.Procore.Created; at != nil {
		reader.Since = at.Add(-early)
	}
	var found []procore.Detail
	_, err := reader.Details(ctx, erplog.DetailMark{}, 0, func(some []procore.Detail) error {
		for _, d := range some {
			known := slices.ContainsFunc(found, func(f procore.Detail) bool { return f.ID == d.ID })
			if slices.Contains(ids, d.ID) && !known {
				found = append(found, d)
			}
		}
		if len(found) == len(ids) {
			return errFound
		}
		return nil
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	whole := err == nil || errors.Is(err, errFound)
	if !whole {
		r.unread("Procore's list of request details", err)
	}
	a := r.Story.Procore
	a.Calls += reader.Calls()
	for _, id := range ids {
		d := Detail{ID: id}
		i := slices.IndexFunc(found, func(f procore.Detail) bool { return f.ID == id })
		if i < 0 && !whole {
			continue // nobody knows whether the list has it
		}
		if i >= 0 {
			d.Status = found[i].Status
		}
		a.Details = append(a.Details, d)
	}
	return found
}
