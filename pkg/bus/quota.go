package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	quotaBucket = "tieback-quota"
	quotaName   = "KV_" + quotaBucket // of its stream

	quotaValueMost = 1<<20 + 1<<10 // as pkg/procore reads, and the headers
	quotaMost      = 32 << 20
)

// Quota does procore.Store: what is known of Procore's limits, one key a client (readable with
// `nats kv get tieback-quota <company>`, or client-<name> of a named one), and which client's credentials Procore
// refuses, at login-<the same>. Each service that calls Procore may write all keys, so the bucket is bounded: a
// thief of a key who fills it displaces values, which is as if they were forgotten. No write of it is waited for until it is on disk: what
// a broker forgets when it dies one call finds out anew. The bucket itself outlives a restart;
// see wanted.fit. All methods may be called concurrently.
type Quota struct {
	bus    *Bus
	spec   streamSpec
	stream jetstream.Stream
}

func quotaStream(replicas int) streamSpec {
	return streamSpec{leaderReads: true, volatile: true, StreamConfig: jetstream.StreamConfig{
		Name: quotaName, Description: "Procore's rate limits as Tieback's processes know them", Subjects: []string{"$KV." + quotaBucket + ".>"},
		Replicas: replicas, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardOld, DenyDelete: true,
		MaxMsgSize: quotaValueMost, MaxBytes: quotaMost, MaxAge: 24 * time.Hour,
	}}
}

// OpenQuota opens the store, with so many replicas (0: 1). It is closed with the bus.
func (b *Bus) OpenQuota(ctx context.Context, replicas int) (*Quota, error) {
	q := &Quota{bus: b, spec: quotaStream(replicas)}
	var err error
	q.stream, err = b.stream(ctx, q.spec)
	return q, err
}

// Read gives a key's value, nil where there is none, and the revision that a Swap must name.
func (q *Quota) Read(ctx context.Context, key string) ([]byte, uint64, error) {
	m, err := newest(ctx, q.stream, quotaSubject(key))
	if isMissingStream(err) {
		if err = q.recreate(ctx, err); err == nil {
			m, err = newest(ctx, q.stream, quotaSubject(key))
		}
	}
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, 0, nil
	case err != nil:
		return nil, 0, fmt.Errorf("bucket %s: %w", quotaBucket, err)
	}
	return m.Data, m.Sequence, nil // of a key deleted by hand the data is empty
}

// Swap writes a key whose revision is still the one given, and gives the new one. Not ok:
// somebody else wrote it meanwhile.
func (q *Quota) Swap(ctx context.Context, key string, value []byte, revision uint64) (next uint64, ok bool, err error) {
	m := &nats.Msg{Subject: quotaSubject(key), Data: value, Header: nats.Header{}}
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
	ack, err := q.bus.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant):
		return 0, false, nil
	case isMissingStream(err):
		return 0, false, q.recreate(ctx, err) // it is empty now
	case err != nil:
		return 0, false, fmt.Errorf("bucket %s: %w", quotaBucket, err)
	}
	return ack.Sequence, true, nil
}

// again makes the bucket that somebody deleted; whoever may not make it can only say so.
func (q *Quota) recreate(ctx context.Context, gone error) error {
	if q.bus.managed {
		return fmt.Errorf("bucket %s is not to be had; if that lasts, run `provisioner`, which makes it: %w", quotaBucket, gone)
	}
	_, err := q.bus.stream(ctx, q.spec)
	return err
}

// forgotten says whether err is how a broker answers for a stream that it does not have.
func isMissingStream(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders)
}

func quotaSubject(key string) string { return "$KV." + quotaBucket + "." + key }
