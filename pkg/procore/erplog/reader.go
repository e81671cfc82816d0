// Package erplog reads what Procore lists of a company's ERP requests: the deliveries of its webhooks, and the
// request details. It changes nothing.
package erplog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
)

// Reader reads Procore's lists of one company. It waits for rate limits as long as ctx allows, and retries transient errors a
// few times. Its methods must not be called concurrently.
type Reader struct {
	Session   *procore.Session
	Company   int64
	Namespace string                      // of our hook; "": tieback
	Backoff   time.Duration               // before a second attempt; 0: 1 s
	Waiting   func(time.Duration, string) // called before each wait; nil: waits are not reported

	Since time.Time // older items may be left out; zero: none

	Malformed []string // lines of Procore's lists that could not be read, and why; a few

	calls atomic.Int32
}

const maxMalformed = 10

// malformed records a line that does not parse. The other lines are read.
func (r *Reader) malformed(list procore.Route, line any, err error) {
	if len(r.Malformed) < maxMalformed {
		r.Malformed = append(r.Malformed, fmt.Sprintf("%s: %v: %v", list.Name, line, err))
	}
}

// Calls is how many calls the reader has made, those for tokens not counted.
func (r *Reader) Calls() int { return int(r.calls.Load()) }

const (
	// pageAttempts is how often a page is asked for before Procore counts as out of reach: 1, 2, 4
	// and 8 Backoffs lie between them.
	pageAttempts = 5
	// short is how many calls a reading may make before it counts as a long one.
	short = 10
)

// reserve is how much of the rate limit is left to the services, whose users wait: a tenth by a short reading, half
// by a long one.
func (r *Reader) reserve(limit int) int {
	if r.Calls() >= short {
		return limit / 2
	}
	return limit / 10
}

// page makes one call. A refusal says which permission it takes.
func (r *Reader) page(ctx context.Context, c procore.Call, n int) (procore.Page, error) {
	session := r.Session.Retrying(procore.Retry{
		Attempts: pageAttempts, Backoff: r.Backoff, Limits: procore.Forever, Reserve: r.reserve,
		Waiting: func(d time.Duration, why string) error {
			if r.Waiting != nil {
				r.Waiting(d, why)
			}
			return nil
		},
	})
	p, err := session.ReadPage(procore.Counted(ctx, &r.calls), c, n)
	if err != nil {
		return procore.Page{}, refused(c.Route, err)
	}
	return p, nil
}

// permissions are what Procore's administrator has to give the app, by route.
var permissions = map[string]string{
	procore.ListHooks.Name:          "to read webhooks (Webhooks API, Standard)",
	procore.ListDeliveries.Name:     "to read webhooks and their deliveries (Webhooks API, Standard)",
	procore.ListRequestDetails.Name: "to read the ERP integration's request details (ERP Integrations, Admin)",
}

// ErrForbidden is in the chain of an error that a missing permission caused.
var ErrForbidden = errors.New("a permission is missing")

func refused(route procore.Route, err error) error {
	var status *procore.StatusError
	if !errors.As(err, &status) || status.Status != http.StatusForbidden {
		return err
	}
	return fault.New(fault.Permanent, fmt.Errorf("%w: the app (or service account) needs the permission %s: %w", ErrForbidden, permissions[route.Name], err))
}

// Hooks gives the ids of the company's hooks that deliver to ingest. Where none has ingest's
// path, as behind a proxy that rewrites paths, it gives all: what a hook of somebody else's
// missed is looked at in vain, which costs calls and harms nothing.
func (r *Reader) Hooks(ctx context.Context) ([]int64, error) {
	var all []int64
	for _, namespace := range []string{cmp.Or(r.Namespace, "tieback"), ""} { // without one Procore shows those of its own alone
		ours, others, err := r.hooksOf(ctx, namespace)
		if err != nil || len(ours) > 0 {
			return ours, err
		}
		all = append(all, others...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// hooksOf gives the hooks of a namespace that deliver to us, and those that do not.
func (r *Reader) hooksOf(ctx context.Context, namespace string) (ours, others []int64, err error) {
	q := procore.Query("company_id", r.Company)
	if namespace != "" {
		q.Set("namespace", namespace)
	}
	for n := 1; ; n++ {
		p, err := r.page(ctx, procore.Call{Route: procore.ListHooks, Query: q}, n)
		if err != nil {
			return nil, nil, err
		}
		for _, item := range p.Items {
			if hook := procore.ID(item["id"]); r.isOurs(item["destination_url"]) {
				ours = append(ours, hook)
			} else {
				others = append(others, hook)
			}
		}
		if p.Last {
			return ours, others, nil
		}
	}
}

func (r *Reader) isOurs(destination any) bool {
	text, _ := destination.(string)
	u, err := url.Parse(text)
	return err == nil && strings.HasSuffix(u.Path, fmt.Sprintf("/webhooks/procore/%d", r.Company))
}
