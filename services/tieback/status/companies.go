package status

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/procore"
)

// deadLetters counts each company's dead letters that need a person. It returns which dead letters and resolutions
// can't be read.
func (v *look) deadLetters(ctx context.Context) []bus.Gap {
	if err := v.letters.Read(ctx); err != nil {
		v.unasked("the dead letters", err)
		return v.letters.Gaps()
	}
	if v.letters.Partial() {
		v.note("of the dead letters only the newest %d were looked at", v.Letters)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, d := range v.letters.Open() {
		v.company(d.Company).Dead++ // 0: what no service of ours wrote
	}
	return v.letters.Gaps()
}

// losses asks whether the streams have lost what they acknowledged.
func (v *look) losses(ctx context.Context, gaps []bus.Gap) {
	all, err := v.bus.Losses(ctx, gaps...)
	if err != nil {
		v.unasked("whether its streams are whole", err)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Losses = append(v.report.Losses, all...)
}

// retries adds what was tried in vain, and what is cut off, to the companies.
func (v *look) retries(ctx context.Context, queues []*queue) {
	byStop := map[string]*queue{}
	for _, q := range queues {
		byStop[q.Name] = q
		if q.cutOff {
			v.note("of the %d unfinished messages at %s the companies' numbers count only the first %d that were handed out, or that wait", q.Unfinished(), q.Name, v.Tail)
		}
	}
	for _, c := range v.companies {
		c.AtLeast = slices.ContainsFunc(queues, func(q *queue) bool { return q.cutOff })
	}
	newest := map[int64]time.Time{}
	if v.bus.Bucket() == nil {
		v.unasked("what was tried again", errors.New("the bucket tieback-state is not to be had"))
		return
	}
	cut, err := v.bus.EachAttempts(ctx, v.Tail, func(of bus.AttemptKey, a bus.Attempts) {
		q := byStop[of.Consumer]
		failure := a.Failure()
		if q == nil || failure == nil || q.Kind.Stream() != of.Stream {
			return
		}
		id, unfinished := q.open[of.Sequence]
		if !unfinished {
			return
		}
		c := v.company(id)
		c.Retrying++
		v.ours(id, a)
		if a.At.After(newest[id]) {
			newest[id], c.LastFailure = a.At, failure.Error()
		}
	})
	if err != nil {
		v.unasked("what was tried again", err)
	}
	if cut {
		v.note("of the messages that were tried again %d were looked at", v.Tail)
	}
}

// quotas reads what is left of Procore's limits, and whose credentials Procore refuses.
func (v *look) quotas(ctx context.Context) {
	if v.Quota == nil {
		return
	}
	for id := range v.Companies {
		q, err := v.quota(ctx, id)
		if err != nil {
			v.unasked("what is left of Procore's limits", err)
			return // the others' would not be answered either
		}
		r, err := v.refusal(ctx, id)
		if err != nil {
			v.unasked("whose credentials Procore refuses", err)
			return
		}
		v.mu.Lock()
		v.company(id).Quota, v.company(id).Refusal = q, r
		v.mu.Unlock()
	}
}

func (v *look) refusal(ctx context.Context, id int64) (*Refusal, error) {
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
	if err != nil { // of a login with another secret, or of no service of ours
		v.note("company %d: whether Procore refuses its credentials is not known: %v", id, err)
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

func (v *look) quota(ctx context.Context, id int64) (*Quota, error) {
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
	q := &Quota{Hour: window(s.Hour), Spike: window(s.Spike)}
	if !s.Blocked.IsZero() {
		until := s.Blocked.UTC()
		q.Blocked = &until
	}
	return q, nil
}

// clientName is the name of a company's client, "" where it has none.
func (v *look) clientName(id int64) string {
	if c := v.Clients[id]; c != nil {
		return c.Name
	}
	return ""
}

func window(q procore.Quota) *Window {
	if q.Limit == 0 {
		return nil
	}
	w := &Window{Limit: q.Limit, Left: q.Remaining}
	if !q.Reset.IsZero() {
		at := q.Reset.UTC()
		w.Reset = &at
	}
	return w
}
