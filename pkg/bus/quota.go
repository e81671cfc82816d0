package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const quotaBucket = "tieback-quota"

// Quota does procore.Store: what is known of Procore's limits, one key a company (readable
// with `nats kv get tieback-quota <company>`). It is kept in memory: what a broker forgets
// when it restarts one call finds out anew. All methods may be called concurrently.
type Quota struct {
	js     jetstream.JetStream
	cfg    jetstream.StreamConfig
	stream jetstream.Stream
}

// OpenQuota opens the store, with so many replicas (0: 1). It is closed with the bus.
func (b *Bus) OpenQuota(ctx context.Context, replicas int) (*Quota, error) {
	q := &Quota{js: b.js, cfg: jetstream.StreamConfig{
		Name: "KV_" + quotaBucket, Description: "Procore's rate limits as Tieback's processes know them", Subjects: []string{"$KV." + quotaBucket + ".>"},
		Storage: jetstream.MemoryStorage, Replicas: replicas,
		MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew, AllowRollup: true, DenyDelete: true,
	}}
	var err error
	q.stream, err = ensure(ctx, q.js, q.cfg, true)
	return q, err
}

// Read gives a key's value, nil where there is none, and the revision that a Swap must name.
func (q *Quota) Read(ctx context.Context, key string) ([]byte, uint64, error) {
	m, err := q.stream.GetLastMsgForSubject(ctx, quotaSubject(key))
	if forgotten(err) {
		if err = q.again(ctx); err == nil {
			m, err = q.stream.GetLastMsgForSubject(ctx, quotaSubject(key))
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
	ack, err := q.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant):
		return 0, false, nil
	case forgotten(err):
		return 0, false, q.again(ctx) // it is empty now
	case err != nil:
		return 0, false, fmt.Errorf("bucket %s: %w", quotaBucket, err)
	}
	return ack.Sequence, true, nil
}

// again makes the stream that a broker forgot.
func (q *Quota) again(ctx context.Context) error {
	_, err := ensure(ctx, q.js, q.cfg, true)
	return err
}

// forgotten says whether err is how a broker answers for a stream that it does not have.
func forgotten(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders)
}

func quotaSubject(key string) string { return "$KV." + quotaBucket + "." + key }
