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
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// askProcore reads the request with one call. If the request has details, it also reads the company's list of request
// details, the newest first and 1,000 a call, until it has found them or the list is older than the click.
func (r *reader) askProcore(ctx context.Context) []procore.Detail {
	calls := new(atomic.Int32)
	raw, err := r.request(procore.Counted(ctx, calls))
	if err != nil && !procore.Gone(err) {
		r.unread("Procore", err)
		return nil
	}
	r.Timeline.Procore = &operatorv1.ProcoreState{Known: err == nil, ProcoreCalls: calls.Load()}
	if err != nil {
		return nil
	}
	readRequest(r.Timeline.Procore, raw)
	return r.details(ctx, procore.RequestDetails(raw))
}

// maxWait limits the total time of waiting for Procore.
const maxWait = time.Minute

// request reads the request and waits while Procore's rate limit is exceeded.
func (r *reader) request(ctx context.Context) ([]byte, error) {
	session := r.Options.Procore.Retrying(procore.Retry{Limits: procore.Forever, Waiting: r.mayWait})
	return session.Do(ctx, procore.Call{Route: procore.GetERPRequest, ID: r.Options.Request})
}

// mayWait returns an error if the total of the waits would exceed maxWait.
func (r *reader) mayWait(d time.Duration, why string) error {
	now := time.Now()
	if r.waited += d; r.waited > maxWait {
		return fmt.Errorf("%s: run it again at about %s", why, clock(now.Add(d), now))
	}
	return nil
}

func readRequest(p *operatorv1.ProcoreState, raw []byte) {
	var request struct {
		Name    string `json:"request_name"`
		Created any    `json:"created_at"`
	}
	if json.Unmarshal(raw, &request) != nil {
		return // the fetcher reports this
	}
	p.Type = request.Name
	text, _ := request.Created.(string)
	if created, err := time.Parse(time.RFC3339, text); err == nil {
		p.Created = at(created)
	}
}

// early is how much older than its request a request detail may be. Both are created by the click, so this is generous.
const early = 24 * time.Hour

var errFound = errors.New("all found")

// details looks up the status of request details.
func (r *reader) details(ctx context.Context, ids []int64) []procore.Detail {
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	reader := &erplog.Reader{Session: r.Options.Procore, Company: r.Options.Company, Backoff: r.Backoff, Waiting: func(d time.Duration, why string) {
		if err := r.mayWait(d, why); err != nil {
			cancel(err) // ends the wait
		}
	}}
	if created := r.Timeline.Procore.Created; created != nil {
		reader.Since = created.AsTime().Add(-early)
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
	p := r.Timeline.Procore
	p.ProcoreCalls += int32(reader.Calls()) //nolint:gosec // a small number
	for _, id := range ids {
		d := &operatorv1.RequestDetail{Id: id}
		i := slices.IndexFunc(found, func(f procore.Detail) bool { return f.ID == id })
		if i < 0 && !whole {
			continue // not known whether the list has it
		}
		if i >= 0 {
			d.Status = found[i].Status
		}
		p.Details = append(p.Details, d)
	}
	return found
}
