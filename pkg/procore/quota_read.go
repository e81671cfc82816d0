package procore

import (
	"encoding/json"
	"fmt"
	"time"
)

// Standing is how a company's rate limits stand, for whoever looks from outside.
type Standing struct {
	Hour, Spike Quota     // Limit 0: not known. Reset zero: its time is over, so that it is whole
	Blocked     time.Time // no call is made until then, as Procore asked; zero: none asked
}

// ReadStanding reads what a Store keeps of a company at its StoreKey. Its times are by Procore's clock, of which now
// is taken for the time: it may be wrong by what the clocks differ.
func ReadStanding(raw []byte, company int64, now time.Time) (Standing, error) {
	var b budget
	if err := json.Unmarshal(raw, &b); err != nil {
		return Standing{}, fmt.Errorf("the store holds what no service of ours wrote: %w", err)
	}
	b.tidy(now.UnixMilli(), "")
	l, _ := b.of(company)
	s := Standing{Hour: l.Hour.quota(l.under()), Spike: l.Spike.quota(l.under())}
	if l.Blocked > now.UnixMilli() {
		s.Blocked = time.UnixMilli(l.Blocked)
	}
	return s, nil
}

func (w window) quota(under int) Quota {
	q := Quota{Limit: w.Limit, Remaining: max(0, w.Left-under)}
	if w.Ends > 0 {
		q.Reset = time.UnixMilli(w.Ends)
	}
	return q
}
