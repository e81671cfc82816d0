package procore

import (
	"time"

	"github.com/tieback/tieback/pkg/company"
)

// LimitStatus is the state of a company's rate limits, for commands.
type LimitStatus struct {
	Hour, Spike Quota     // Limit 0: not known. Reset zero: the window is over, so all calls are left
	Blocked     time.Time // no call is made until then, because Procore asked for it; zero: not blocked
}

// ReadLimitStatus parses the value at the StoreKey of a company's client. Its times are by Procore's clock. now is taken as
// the time of that clock, so the result is off by the difference of the clocks. It returns an error for a value that was not
// sealed with the client's secret.
func ReadLimitStatus(raw []byte, id int64, client *company.Client, now time.Time) (LimitStatus, error) {
	b, _, err := unseal[budget](raw, StoreKey(id, client.Name), string(client.Credentials().Secret))
	if err != nil {
		return LimitStatus{}, err
	}
	return b.status(id, now), nil
}

func (b *budget) status(id int64, now time.Time) LimitStatus {
	b.tidy(now.UnixMilli(), "")
	l, _ := b.of(id)
	s := LimitStatus{Hour: l.Hour.quota(l.inFlight()), Spike: l.Spike.quota(l.inFlight())}
	if l.Blocked > now.UnixMilli() {
		s.Blocked = time.UnixMilli(l.Blocked)
	}
	return s
}

func (w window) quota(under int) Quota {
	q := Quota{Limit: w.Limit, Remaining: max(0, w.Left-under)}
	if w.Ends > 0 {
		q.Reset = time.UnixMilli(w.Ends)
	}
	return q
}
