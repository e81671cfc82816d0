package status

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/procore"
)

// errNoState is the reason why values of the state bucket are unread.
var errNoState = errors.New("the bucket tieback-state is not available")

// readDeadLetters counts each company's unresolved dead letters. It returns which dead letters and resolutions can't be
// read.
func (v *reading) readDeadLetters(ctx context.Context) []bus.Gap {
	if err := v.deadLetters.Read(ctx); err != nil {
		v.unread("the dead letters", err)
		return v.deadLetters.Gaps()
	}
	if v.deadLetters.Partial() {
		v.note("only the newest %d dead letters were counted", v.MaxDeadLetters)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, d := range v.deadLetters.Open() {
		v.company(d.Company).DeadLetters++
	}
	return v.deadLetters.Gaps()
}

func (v *reading) readLosses(ctx context.Context, gaps []bus.Gap) {
	all, err := v.bus.Losses(ctx, gaps...)
	if err != nil {
		v.unread("the watermarks of the streams", err)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Losses = append(v.report.Losses, all...)
}

// readRetries counts each company's unfinished messages with a failed attempt.
func (v *reading) readRetries(ctx context.Context, queues []*queue) {
	byStage := map[string]*queue{}
	for _, q := range queues {
		byStage[q.Name] = q
		if q.incomplete {
			v.note("%s has %d unfinished messages; the companies' numbers count only the first %d in flight and the first %d that wait", q.Name, q.Unfinished(), v.MaxUnfinished, v.MaxUnfinished)
		}
	}
	for _, c := range v.companies {
		c.AtLeast = slices.ContainsFunc(queues, func(q *queue) bool { return q.incomplete })
	}
	newest := map[int64]time.Time{}
	if v.bus.Bucket() == nil {
		v.unread("the failed attempts", errNoState)
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
		v.unread("the failed attempts", err)
	}
	if more {
		v.note("only the failed attempts of %d messages were read", v.MaxUnfinished)
	}
}

// readQuotas reads what is left of Procore's rate limits, and which credentials Procore refuses.
func (v *reading) readQuotas(ctx context.Context) {
	if v.Quota == nil {
		return
	}
	for id := range v.Companies {
		q, err := v.readQuota(ctx, id)
		if err != nil {
			v.unread("Procore's rate limits", err)
			return // the other companies would not be answered either
		}
		r, err := v.readRefusal(ctx, id)
		if err != nil {
			v.unread("the logins to Procore", err)
			return
		}
		v.mu.Lock()
		v.company(id).Quota, v.company(id).Refusal = q, r
		v.mu.Unlock()
	}
}

func (v *reading) readRefusal(ctx context.Context, id int64) (*Refusal, error) {
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
		v.note("company %d: it is not known whether Procore refuses its credentials: %v", id, err)
	}
	if !refused {
		return nil, nil
	}
	r := &Refusal{Since: is.Since.UTC(), Status: is.Status}
	if until := is.Until.UTC(); until.After(v.at) {
		r.Until = &until
	}
	return r, nil
}

func (v *reading) readQuota(ctx context.Context, id int64) (*Quota, error) {
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
		v.note("company %d: %v", id, err)
		return nil, nil
	}
	q := &Quota{Hour: rateWindow(s.Hour), Spike: rateWindow(s.Spike)}
	if !s.Blocked.IsZero() {
		until := s.Blocked.UTC()
		q.Blocked = &until
	}
	return q, nil
}

// clientName returns the name of a company's client, or "" if it has none.
func (v *reading) clientName(id int64) string {
	if c := v.Clients[id]; c != nil {
		return c.Name
	}
	return ""
}

func rateWindow(q procore.Quota) *RateWindow {
	if q.Limit == 0 {
		return nil
	}
	w := &RateWindow{Limit: q.Limit, Remaining: q.Remaining}
	if !q.Reset.IsZero() {
		at := q.Reset.UTC()
		w.Reset = &at
	}
	return w
}
