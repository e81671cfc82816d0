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
)

const (
	bucket    = "tieback-state"
	stateName = "KV_" + bucket // of its stream
	keyPrefix = "$KV." + bucket + "."
)

// Bucket is the key-value bucket tieback-state (readable with `nats kv ls tieback-state`). Package state says what
// its keys mean, but for attempt.<stream>.<consumer>.<seq>: see Attempts. Its methods may be called concurrently.
// Writes share commits with other writes of the moment.
type Bucket struct {
	stream    jetstream.Stream // the bucket's own
	publisher *Publisher
}

// Entry is what the bucket has under a key.
type Entry struct {
	Key      string
	Value    []byte    // nil: none, or it was deleted
	Revision uint64    // that Replace must name; 0: the key was never written
	At       time.Time // when it was written
}

// stateStream is the bucket as a stream of our own making, which any client of key-value buckets
// can open: the buckets' own API would let any replica answer a read, and a follower may not
// know yet which generation of a record is the present one. With replicas, reads go to the leader.
func stateStream(o Options) streamSpec {
	return streamSpec{leaderReads: true, StreamConfig: jetstream.StreamConfig{
		Name: stateName, Description: "links, generations, cursors and attempts of Tieback", Subjects: []string{keyPrefix + ">"},
		Storage: jetstream.FileStorage, Replicas: o.Replicas,
		MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, DenyDelete: true, AllowAtomicPublish: true,
		AllowMsgTTL: true, Duplicates: 2 * time.Minute,
	}}
}

func (b *Bus) openBucket(ctx context.Context, o Options) (*Bucket, error) {
	s, err := b.stream(ctx, stateStream(o))
	if err != nil {
		return nil, err
	}
	return &Bucket{stream: s, publisher: newPublisher(b.js, stateName)}, nil
}

// Get gives a key's entry. A key with wildcards gives the newest entry of those that match.
func (b *Bucket) Get(ctx context.Context, key string) (Entry, error) {
	ctx, cancel := answerContext(ctx)
	defer cancel()
	m, err := newest(ctx, b.stream, keyPrefix+key)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return Entry{Key: key}, nil
	case err != nil:
		return Entry{}, fmt.Errorf("state %s: %w", key, err)
	}
	e := Entry{Key: strings.TrimPrefix(m.Subject, keyPrefix), Revision: m.Sequence, At: m.Time}
	if m.Header.Get("KV-Operation") == "" && m.Header.Get(jetstream.MarkerReasonHeader) == "" {
		e.Value = m.Data
	}
	return e, nil
}

// Put writes a key.
func (b *Bucket) Put(ctx context.Context, key string, value []byte) error {
	return b.publish(ctx, key, value, nats.Header{})
}

// Replace writes a key whose entry still has the revision given; else it returns ErrDuplicate.
func (b *Bucket) Replace(ctx context.Context, key string, value []byte, revision uint64) error {
	return b.publish(ctx, key, value, nats.Header{jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(revision, 10)}})
}

// Update writes what next makes of a key's value. Where another process wrote the key meanwhile, next is called again
// with the new value. It writes nothing where next returns nil.
func (b *Bucket) Update(ctx context.Context, key string, next func(old []byte) ([]byte, error)) error {
	for {
		old, err := b.Get(ctx, key)
		if err != nil {
			return err
		}
		value, err := next(old.Value)
		if err != nil || value == nil {
			return err
		}
		if err := b.Replace(ctx, key, value, old.Revision); !errors.Is(err, ErrDuplicate) {
			return err
		}
	}
}

// PutFor writes a key that expires after keep, which has whole seconds, at least one.
func (b *Bucket) PutTTL(ctx context.Context, key string, value []byte, keep time.Duration) error {
	return b.expiring(ctx, key, value, nats.Header{}, keep)
}

// Delete deletes a key. It leaves a mark that expires after keep. It is no rollup, as a key-value bucket's own purge
// is: a service that may send one may purge the whole bucket by it, so that none may (AllowRollup).
func (b *Bucket) Delete(ctx context.Context, key string, keep time.Duration) error {
	return b.expiring(ctx, key, nil, nats.Header{"KV-Operation": {"DEL"}}, keep)
}

func (b *Bucket) expiring(ctx context.Context, key string, value []byte, h nats.Header, keep time.Duration) error {
	ctx, cancel := answerContext(ctx)
	defer cancel()
	h.Set(jetstream.MsgTTLHeader, max(keep, time.Second).Truncate(time.Second).String())
	return b.publish(ctx, key, value, h)
}

func (b *Bucket) publish(ctx context.Context, key string, value []byte, h nats.Header) error {
	return b.publisher.Publish(ctx, &nats.Msg{Subject: keyPrefix + key, Data: value, Header: h})
}

// Each calls each for every entry with a value whose key fits a filter, in no order. An entry that is written or
// deleted meanwhile is passed as it was or as it is, or left out. It reads at most so many entries; cut says that
// there are more. most 0: all.
func (b *Bucket) Each(ctx context.Context, filter string, most int, each func(Entry) error) (cut bool, err error) {
	listing, cancel := answerContext(ctx)
	defer cancel()
	info, err := b.stream.Info(listing, jetstream.WithSubjectFilter(keyPrefix+filter))
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
			e, err := b.Get(ctx, strings.TrimPrefix(subject, keyPrefix))
			if err != nil || e.Value == nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if seen++; most > 0 && seen > most {
				return ErrStopScan
			}
			return each(e)
		})
	}
	err = all.Wait()
	if errors.Is(err, ErrStopScan) {
		return true, nil
	}
	return false, err
}

// readsAtOnce is how many keys are read at once.
const readsAtOnce = 64
