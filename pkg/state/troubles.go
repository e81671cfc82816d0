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

// SaveTrouble stores a trouble that this service observes. It expires after keep, which is rounded down to whole seconds, at
// least one.
func (s *State) SaveTrouble(ctx context.Context, t trouble.Trouble, keep time.Duration) error {
	value, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return s.bucket.PutTTL(ctx, s.troubleKey(t), value, keep)
}

// ClearTrouble deletes a trouble that SaveTrouble stored.
func (s *State) ClearTrouble(ctx context.Context, t trouble.Trouble) error {
	return s.bucket.Delete(ctx, s.troubleKey(t), time.Second)
}

// troubleKey is trouble.<company>.<what>.<service>.
func (s *State) troubleKey(t trouble.Trouble) string {
	return fmt.Sprintf("trouble.%d.%s.%s", t.Company, what(t.Source, t.Reason), s.service)
}

// what returns the token of a trouble's key that names what fails. Undelivered webhooks have their own token: Procore may answer
// calls nevertheless.
func what(source fault.Source, reason fault.Reason) string {
	if reason == fault.Undelivered {
		return "hook"
	}
	return cmp.Or(string(source), "ours")
}

// TroubleOf returns the last stored trouble of a company's system, and false if there is none. The source "" is Tieback itself.
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

// Troubles calls fn for at most limit stored troubles of all companies. It returns true if there are more.
func (s *State) Troubles(ctx context.Context, limit int, fn func(trouble.Trouble)) (more bool, err error) {
	return s.bucket.Each(ctx, "trouble.>", limit, func(e bus.Entry) error {
		var t trouble.Trouble
		if json.Unmarshal(e.Value, &t) == nil {
			fn(t)
		}
		return nil
	})
}
