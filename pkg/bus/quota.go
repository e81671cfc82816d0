package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// Quota implements procore.Store. It has one key per client, `<company>` or `client-<name>`, with what is left of its rate
// limits, and per client a second key, `login-` and the first one, with credentials that Procore refused. A key is readable with `nats kv get tieback-quota <key>`.
//
// The values are only shown: no call to Procore depends on them. Each service that calls Procore may write all keys, so the
// size of the bucket is bounded. Writes are not synced to disk; the next call to Procore replaces a lost value. The bucket
// itself survives a restart; see topology.Stream.For. All methods may be called concurrently.
type Quota struct {
	bus    *Bus
	stream jetstream.Stream
}

// OpenQuota opens the store. replicas is the number of its replicas; 0: 1. It is closed with the bus.
func (b *Bus) OpenQuota(ctx context.Context, replicas int) (*Quota, error) {
	s, err := b.stream(ctx, topology.QuotaStream(topology.Config{Replicas: replicas}))
	return &Quota{bus: b, stream: s}, err
}

// Read returns a key's value, nil if there is none, and the revision to pass to Swap.
func (q *Quota) Read(ctx context.Context, key string) ([]byte, uint64, error) {
	m, err := newest(ctx, q.stream, topology.Quota.Subject(key))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, 0, nil
	case err != nil:
		return nil, 0, fmt.Errorf("bucket %s: %w", topology.Quota, err)
	}
	return m.Data, m.Sequence, nil // a key that a person deleted has no data
}

// Swap writes a key if its revision is still the given one, and returns the new revision. It returns false if another
// process has written the key.
func (q *Quota) Swap(ctx context.Context, key string, value []byte, revision uint64) (next uint64, ok bool, err error) {
	return q.bus.swap(ctx, topology.Quota, key, value, revision)
}
