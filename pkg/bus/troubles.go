package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

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
	return s.putFor(ctx, s.troubleKey(t), value, "", keep)
}

// ClearTrouble forgets what SaveTrouble kept.
func (s *State) ClearTrouble(ctx context.Context, t trouble.Trouble) error {
	return s.putFor(ctx, s.troubleKey(t), nil, "DEL", time.Second)
}

func (s *State) putFor(ctx context.Context, key string, value []byte, operation string, keep time.Duration) error {
	ctx, cancel := brief(ctx)
	defer cancel()
	m := &nats.Msg{Subject: "$KV." + bucket + "." + key, Data: value, Header: nats.Header{}}
	if operation != "" {
		m.Header.Set("KV-Operation", operation)
	}
	m.Header.Set(jetstream.MsgTTLHeader, max(keep, time.Second).Truncate(time.Second).String())
	return s.publisher.Publish(ctx, m)
}

// troubleKey is trouble.<company>.<what>.<service>.
func (s *State) troubleKey(t trouble.Trouble) string {
	return fmt.Sprintf("trouble.%d.%s.%s", t.Company, what(t.Source, t.Reason), cmp.Or(s.service, "tieback"))
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
	m, _, err := s.last(ctx, key)
	if err != nil || m == nil {
		return t, false, err
	}
	if err := json.Unmarshal(m.Data, &t); err != nil {
		return t, false, fmt.Errorf("state %s: %w", key, err)
	}
	return t, true, nil
}

// Troubles hands over all that services know to be wrong, of most of them at most, with the service that
// does; cut says that there is more.
func (s *State) Troubles(ctx context.Context, most int, each func(trouble.Trouble)) (cut bool, err error) {
	return s.most(ctx, "trouble.>", most, func(_ string, m *jetstream.RawStreamMsg) {
		var t trouble.Trouble
		if json.Unmarshal(m.Data, &t) == nil {
			each(t)
		}
	})
}

// most calls each for the values of keys, of most of them at most; cut says that there are more.
func (s *State) most(ctx context.Context, keys string, most int, each func(key string, m *jetstream.RawStreamMsg)) (cut bool, err error) {
	err = s.values(ctx, keys, func(key string, m *jetstream.RawStreamMsg) error {
		if most--; most < 0 {
			return ErrSeen
		}
		each(key, m)
		return nil
	})
	if errors.Is(err, ErrSeen) {
		return true, nil
	}
	return false, err
}
