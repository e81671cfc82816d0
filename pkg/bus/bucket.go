package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// Bucket is the key-value bucket tieback-state (readable with `nats kv ls tieback-state`). Package state documents its
// keys, except attempt.<stream>.<consumer>.<seq>; see Attempts. Its methods may be called concurrently. Concurrent writes
// share commits.
type Bucket struct {
	stream    jetstream.Stream
	publisher *Publisher
}

// Entry is the value of a key.
type Entry struct {
	Key      string
	Value    []byte    // nil: none, or it was deleted
	Revision uint64    // to pass to Replace; 0: the key was never written
	At       time.Time // when it was written
}

func (b *Bus) openBucket(ctx context.Context, o Options) (*Bucket, error) {
	s, err := b.stream(ctx, topology.StateStream(o.topology()))
	if err != nil {
		return nil, err
	}
	return &Bucket{stream: s, publisher: newPublisher(b.js, s, b.requests)}, nil
}

// Get returns a key's entry. For a key with wildcards it returns the newest of the entries that match.
func (b *Bucket) Get(ctx context.Context, key string) (Entry, error) {
	ctx, cancel := b.publisher.requests.answerContext(ctx)
	defer cancel()
	m, err := newest(ctx, b.stream, topology.State.Subject(key))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return Entry{Key: key}, nil
	case err != nil:
		return Entry{}, fmt.Errorf("state %s: %w", key, err)
	}
	e := Entry{Key: strings.TrimPrefix(m.Subject, topology.State.Subject("")), Revision: m.Sequence, At: m.Time}
	if m.Header.Get("KV-Operation") == "" && m.Header.Get(jetstream.MarkerReasonHeader) == "" {
		e.Value = m.Data
	}
	return e, nil
}

// Put writes a key.
func (b *Bucket) Put(ctx context.Context, key string, value []byte) error {
	return b.publish(ctx, key, value, nats.Header{})
}

// Replace writes a key if its entry still has the given revision. Otherwise it returns ErrDuplicate.
func (b *Bucket) Replace(ctx context.Context, key string, value []byte, revision uint64) error {
	return b.ReplaceTTL(ctx, key, value, revision, 0)
}

// ReplaceTTL is Replace for a key that expires after ttl, in whole seconds; 0: it does not expire.
func (b *Bucket) ReplaceTTL(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) error {
	h := nats.Header{jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(revision, 10)}}
	if ttl > 0 {
		return b.expiring(ctx, key, value, h, ttl)
	}
	return b.publish(ctx, key, value, h)
}

// Update replaces a key's value by the result of next. If another process writes the key in between, next is called
// again with the new value. Update writes nothing if next returns nil.
func (b *Bucket) Update(ctx context.Context, key string, next func(old []byte) ([]byte, error)) error {
	return b.UpdateTTL(ctx, key, 0, next)
}

// UpdateTTL is Update for a key whose new value expires after ttl, in whole seconds; 0: it does not expire.
func (b *Bucket) UpdateTTL(ctx context.Context, key string, ttl time.Duration, next func(old []byte) ([]byte, error)) error {
	for {
		old, err := b.Get(ctx, key)
		if err != nil {
			return err
		}
		value, err := next(old.Value)
		if err != nil || value == nil {
			return err
		}
		if err := b.ReplaceTTL(ctx, key, value, old.Revision, ttl); !errors.Is(err, ErrDuplicate) {
			return err
		}
	}
}

// PutTTL writes a key that expires after ttl, which is rounded down to whole seconds, at least one.
func (b *Bucket) PutTTL(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return b.expiring(ctx, key, value, nats.Header{}, ttl)
}

// Delete deletes a key. It leaves a marker that expires after ttl. Unlike the purge of key-value clients, it does not use a
// rollup: a service that may send rollups could purge the whole bucket, so the stream refuses them.
func (b *Bucket) Delete(ctx context.Context, key string, ttl time.Duration) error {
	return b.expiring(ctx, key, nil, nats.Header{"KV-Operation": {"DEL"}}, ttl)
}

func (b *Bucket) expiring(ctx context.Context, key string, value []byte, h nats.Header, ttl time.Duration) error {
	ctx, cancel := answerContext(ctx)
	defer cancel()
	h.Set(jetstream.MsgTTLHeader, max(ttl, time.Second).Truncate(time.Second).String())
	return b.publish(ctx, key, value, h)
}

func (b *Bucket) publish(ctx context.Context, key string, value []byte, h nats.Header) error {
	return b.publisher.Publish(ctx, &nats.Msg{Subject: topology.State.Subject(key), Data: value, Header: h})
}

// Each calls fn for the entries whose key matches a filter and that have a value, in no order, one at a time, for at most
// limit of them (0: all). It returns true if there are more. If an entry changes during the call, fn may get its old value,
// its new value, or neither.
func (b *Bucket) Each(ctx context.Context, filter string, limit int, fn func(Entry) error) (more bool, err error) {
	listing, cancel := answerContext(ctx)
	defer cancel()
	info, err := b.stream.Info(listing, jetstream.WithSubjectFilter(topology.State.Subject(filter)))
	if err != nil {
		return false, fmt.Errorf("state %s: %w", filter, err)
	}
	var (
		all  errgroup.Group
		mu   sync.Mutex
		seen int
	)
	all.SetLimit(readsAtOnce)
	for subject := range info.State.Subjects {
		all.Go(func() error {
			e, err := b.Get(ctx, strings.TrimPrefix(subject, topology.State.Subject("")))
			if err != nil || e.Value == nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if seen++; limit > 0 && seen > limit {
				return ErrStopScan
			}
			return fn(e)
		})
	}
	err = all.Wait()
	if errors.Is(err, ErrStopScan) {
		return true, nil
	}
	return false, err
}

// readsAtOnce is how many keys Each reads concurrently.
const readsAtOnce = 64

// swap writes a key of a bucket if its revision is still the given one, and returns the new revision. It returns false if another
// process has written the key.
func (b *Bus) swap(ctx context.Context, bucket topology.Bucket, key string, value []byte, revision uint64) (next uint64, ok bool, err error) {
	m := &nats.Msg{Subject: bucket.Subject(key), Data: value, Header: nats.Header{}}
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
	ack, err := b.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	switch {
	case isWrongSequence(err):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("bucket %s: %w", bucket, err)
	}
	return ack.Sequence, true, nil
}
