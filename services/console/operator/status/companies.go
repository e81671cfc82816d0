package status

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/state"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// errNoState is the reason why values of the state bucket are unread.
var errNoState = errors.New("the bucket tieback-state is not available")

// readDeadLetters counts each company's unresolved dead letters. It returns which dead letters and resolutions can't be
// read.
func (v *Reading) readDeadLetters(ctx context.Context) []bus.Gap {
	if err := v.deadLetters.Read(ctx); err != nil {
		v.addUnread("the dead letters", err)
		return v.deadLetters.Gaps()
	}
	if v.deadLetters.Partial() {
		v.addNote(0, "only the newest %d dead letters were counted", v.MaxDeadLetters)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, d := range v.deadLetters.Open() {
		v.company(d.Company).DeadLetters++
	}
	return v.deadLetters.Gaps()
}

func (v *Reading) readLosses(ctx context.Context, gaps []bus.Gap) {
	all, err := v.bus.Losses(ctx, gaps...)
	if err != nil {
		v.addUnread("the watermarks of the streams", err)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.losses = all
}

// readRetries counts each company's unfinished messages with a failed attempt.
func (v *Reading) readRetries(ctx context.Context, queues []*queue) {
	byStage := map[string]*queue{}
	for _, q := range queues {
		byStage[q.Name] = q
		if q.incomplete {
			v.addNote(0, "%s has %d unfinished messages; the companies' numbers count only the first %d in flight and the first %d that wait", q.Name, q.Pending+uint64(q.InFlight), v.MaxUnfinished, v.MaxUnfinished)
		}
	}
	for _, c := range v.companies {
		c.AtLeast = slices.ContainsFunc(queues, func(q *queue) bool { return q.incomplete })
	}
	newest := map[int64]time.Time{}
	if v.bus.Bucket() == nil {
		v.addUnread("the failed attempts", errNoState)
		return
	}
	more, err := v.bus.EachAttempts(ctx, v.MaxUnfinished, func(of bus.AttemptKey, a bus.Attempts) {
		q := byStage[of.Consumer]
		failure := a.Failure()
		if q == nil || failure == nil || q.Kind.Stream() != of.Stream {
			return
		}
		id, unfinished := q.companyOf[of.Sequence]
		if !unfinished {
			return
		}
		c := v.company(id)
		c.Retrying++
		v.addOwnTrouble(id, a)
		if a.At.After(newest[id]) {
			newest[id], c.LastFailure = a.At, failure.Error()
		}
	})
	if err != nil {
		v.addUnread("the failed attempts", err)
	}
	if more {
		v.addNote(0, "only the failed attempts of %d messages were read", v.MaxUnfinished)
	}
}

// readQuotas reads what is left of Procore's rate limits, and which credentials Procore refuses.
func (v *Reading) readQuotas(ctx context.Context) {
	if v.Quota == nil {
		return
	}
	for id := range v.Companies {
		q, err := v.readQuota(ctx, id)
		if err != nil {
			v.addUnread("Procore's rate limits", err)
			return // the other companies would not be answered either
		}
		r, err := v.readRefusal(ctx, id)
		if err != nil {
			v.addUnread("the logins to Procore", err)
			return
		}
		v.mu.Lock()
		v.company(id).Quota, v.company(id).Refusal = q, r
		v.mu.Unlock()
	}
}

func (v *Reading) readRefusal(ctx context.Context, id int64) (*operatorv1.Refusal, error) {
	ctx, cancel := context.WithTimeout(ctx, bus.AnswerTimeout)
	defer cancel()
	client := v.Clients[id]
	if client == nil {
		return nil, nil
	}
	raw, _, err := v.Quota.Read(ctx, procore.LoginKey(id, client.Name))
	if err != nil {
		return nil, err
	}
	is, refused, err := procore.ReadRefusal(raw, id, client)
	if err != nil { // written with another secret, or not by a service
		v.addNote(id, "company %d: it is not known whether Procore refuses its credentials: %v", id, err)
	}
	if !refused {
		return nil, nil
	}
	r := &operatorv1.Refusal{Since: timestamppb.New(is.Since), Status: int32(is.Status)} //nolint:gosec // an HTTP status
	if is.Until.After(v.at) {
		r.TokenUntil = timestamppb.New(is.Until)
	}
	return r, nil
}

func (v *Reading) readQuota(ctx context.Context, id int64) (*operatorv1.Quota, error) {
	ctx, cancel := context.WithTimeout(ctx, bus.AnswerTimeout)
	defer cancel()
	client := v.Clients[id]
	if client == nil {
		return nil, nil
	}
	raw, _, err := v.Quota.Read(ctx, procore.StoreKey(id, client.Name))
	if err != nil || len(raw) == 0 {
		return nil, err
	}
	s, err := procore.ReadLimitStatus(raw, id, client, v.at)
	if err != nil { // the services ignore it, too
		v.addNote(id, "company %d: %v", id, err)
		return nil, nil
	}
	q := &operatorv1.Quota{Hour: rateWindow(s.Hour), Spike: rateWindow(s.Spike)}
	if !s.Blocked.IsZero() {
		q.BlockedUntil = timestamppb.New(s.Blocked)
	}
	return q, nil
}

// clientName returns the name of a company's client, or "" if it has none.
func (v *Reading) clientName(id int64) string {
	if c := v.Clients[id]; c != nil {
		return c.Name
	}
	return ""
}

// rateWindow converts one of the limits; nil: Procore has not sent it yet.
func rateWindow(q procore.Quota) *operatorv1.RateWindow {
	if q.Limit == 0 {
		return nil
	}
	w := &operatorv1.RateWindow{Limit: int64(q.Limit), Remaining: int64(q.Remaining)}
	if !q.Reset.IsZero() {
		w.Reset_ = timestamppb.New(q.Reset)
	}
	return w
}

// readPauses reads which companies are paused.
func (v *Reading) readPauses(ctx context.Context) {
	if state.Of(v.bus) == nil {
		v.addUnread("the pauses", errNoState)
		return
	}
	pauses, err := state.Of(v.bus).Pauses(ctx)
	if err != nil {
		v.addUnread("the pauses", err)
	}
	for _, p := range pauses {
		v.pauses = append(v.pauses, p)
		c := v.company(p.Company)
		c.Paused = append(c.Paused, &operatorv1.PausedStage{Stage: p.Stage, Who: p.Who, At: timestamppb.New(p.At), Reason: p.Reason})
	}
}

// waitingFor says what the open requests of a company wait for.
func (v *Reading) waitingFor(c *operatorv1.CompanyState) string {
	switch {
	case len(c.Paused) > 0:
		return "person"
	case c.Quota.GetBlockedUntil() != nil && c.Quota.BlockedUntil.AsTime().After(v.at):
		return "quota"
	}
	for _, t := range c.Troubles {
		if t.Source != "" {
			return t.Source
		}
	}
	return ""
}
