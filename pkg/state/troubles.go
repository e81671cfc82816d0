package state

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/trouble"
)

// SaveTrouble keeps what this service knows to be wrong, for keep, or until it is cleared or saved again.
// keep has whole seconds, one at least.
func (s *State) SaveTrouble(ctx context.Context, t trouble.Trouble, keep time.Duration) error {
	value, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return s.bucket.PutTTL(ctx, s.troubleKey(t), value, keep)
}

// ClearTrouble forgets what SaveTrouble kept.
func (s *State) ClearTrouble(ctx context.Context, t trouble.Trouble) error {
	return s.bucket.Delete(ctx, s.troubleKey(t), time.Second)
}

// troubleKey is trouble.<company>.<what>.<service>.
func (s *State) troubleKey(t trouble.Trouble) string {
	return fmt.Sprintf("trouble.%d.%s.%s", t.Company, what(t.Source, t.Reason), s.service)
}

// what is a trouble's token: a system may do its part and still not deliver its webhooks.
func what(source fault.Source, reason fault.Reason) string {
	if reason == fault.Undelivered {
		return "hook"
	}
	return cmp.Or(string(source), "ours")
}

// TroubleOf is what is known to be wrong with a company's system, by whichever service noted something
// last; false: nothing is. An empty source is Tieback itself.
func (s *State) TroubleOf(ctx context.Context, company int64, source fault.Source) (trouble.Trouble, bool, error) {
	var t trouble.Trouble
	key := fmt.Sprintf("trouble.%d.%s.*", company, what(source, ""))
	e, err := s.bucket.Get(ctx, key)
	if err != nil || e.Value == nil {
		return t, false, err
	}
	if err := json.Unmarshal(e.Value, &t); err != nil {
		return t, false, fmt.Errorf("state %s: %w", key, err)
	}
	return t, true, nil
}

// Troubles hands over all that services know to be wrong, of most of them at most, with the service that
// does; cut says that there is more.
func (s *State) Troubles(ctx context.Context, most int, each func(trouble.Trouble)) (cut bool, err error) {
	return s.bucket.Each(ctx, "trouble.>", most, func(e bus.Entry) error {
		var t trouble.Trouble
		if json.Unmarshal(e.Value, &t) == nil {
			each(t)
		}
		return nil
	})
}
