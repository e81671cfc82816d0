package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const bucket = "tieback-state"

// State is what the pipeline remembers about records, in one key-value bucket (readable
// with `nats kv ls tieback-state`):
//
//	link.<company>.<item type>.<item id>    origin id that Procore has for the record; written by the status-reporter
//	life.<company>.<entity>.<item id>       ERP request that ended the record's last life; written by unlink and reset
//	cursor.<company>.<entity>               up to where the ERP's changes are in Procore; written by sync
//	cursor.<company>.deleted-<request>      what a throttled event has deleted in Procore so far; written by unlink and reset
//	attempt.<stream>.<consumer>.<seq>       attempts started on a message that came again
type State struct {
	kv        jetstream.KeyValue
	publisher *Publisher
}

func openState(ctx context.Context, js jetstream.JetStream, o Options) (*State, error) {
	kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: bucket, Description: "links, lives, cursors and attempts of Tieback", Replicas: max(1, o.Replicas), LimitMarkerTTL: time.Hour,
	})
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", bucket, err)
	}
	name := "KV_" + bucket
	s, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", bucket, err)
	}
	if cfg := s.CachedInfo().Config; !cfg.AllowAtomicPublish {
		cfg.AllowAtomicPublish = true
		if _, err := js.UpdateStream(ctx, cfg); err != nil {
			return nil, fmt.Errorf("bucket %s: %w", bucket, err)
		}
	}
	return &State{kv: kv, publisher: newPublisher(js, name)}, nil
}

// put shares commits with other writes of the moment.
func (s *State) put(ctx context.Context, key string, value []byte) error {
	return s.publisher.Publish(ctx, &nats.Msg{Subject: "$KV." + bucket + "." + key, Data: value, Header: nats.Header{}})
}

func (s *State) get(ctx context.Context, key string) ([]byte, error) {
	e, err := s.kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("state %s: %w", key, err)
	}
	return e.Value(), nil
}

func (s *State) getInt(ctx context.Context, key string) (int64, error) {
	raw, err := s.get(ctx, key)
	if err != nil || raw == nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("state %s: %w", key, err)
	}
	return n, nil
}

// Link is the origin id that Procore has for a record, and the ERP request it was learned from.
type Link struct {
	OriginID string `json:"origin_id"` // "": unlinked
	Request  int64  `json:"request"`
}

// SaveLink keeps a link. What an older request says never overwrites what a newer one said.
func (s *State) SaveLink(ctx context.Context, company int64, itemType string, itemID int64, l Link) error {
	key := fmt.Sprintf("link.%d.%s.%d", company, itemType, itemID)
	raw, err := s.get(ctx, key)
	if err != nil {
		return err
	}
	var old Link
	if raw != nil && json.Unmarshal(raw, &old) == nil && (old.Request > l.Request || old == l) {
		return nil
	}
	value, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return s.put(ctx, key, value)
}

// LinkOf is the origin id that Procore has for a record; "": none that we know of.
func (s *State) LinkOf(ctx context.Context, company int64, itemType string, itemID int64) (string, error) {
	key := fmt.Sprintf("link.%d.%s.%d", company, itemType, itemID)
	raw, err := s.get(ctx, key)
	if err != nil || raw == nil {
		return "", err
	}
	var l Link
	if err := json.Unmarshal(raw, &l); err != nil {
		return "", fmt.Errorf("state %s holds what no service of ours wrote", key)
	}
	return l.OriginID, nil
}

// Links maps origin id to item id, for every linked record of a company's item type.
func (s *State) Links(ctx context.Context, company int64, itemType string) (map[string]int64, error) {
	prefix := fmt.Sprintf("link.%d.%s.", company, itemType)
	w, err := s.kv.Watch(ctx, prefix+"*", jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("state %s*: %w", prefix, err)
	}
	defer func() { _ = w.Stop() }() // the watcher ends with its connection anyway
	links := map[string]int64{}
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case e := <-w.Updates():
			if e == nil { // all that there was
				return links, nil
			}
			id, err := strconv.ParseInt(strings.TrimPrefix(e.Key(), prefix), 10, 64)
			var l Link
			if err != nil || json.Unmarshal(e.Value(), &l) != nil {
				return nil, fmt.Errorf("state %s holds what no service of ours wrote", e.Key())
			}
			if l.OriginID != "" {
				links[l.OriginID] = id
			}
		}
	}
}

// Life is the ERP request that ended the record's last life in the ERP; 0: it is in its first.
func (s *State) Life(ctx context.Context, company int64, entity string, itemID int64) (int64, error) {
	return s.getInt(ctx, fmt.Sprintf("life.%d.%s.%d", company, entity, itemID))
}

// EndLife notes that request ended the record's life: an export after it books anew, an
// export older than it is superseded. An older request never moves the mark back.
func (s *State) EndLife(ctx context.Context, company int64, entity string, itemID, request int64) error {
	ended, err := s.Life(ctx, company, entity, itemID)
	if err != nil || ended >= request {
		return err
	}
	return s.put(ctx, fmt.Sprintf("life.%d.%s.%d", company, entity, itemID), strconv.AppendInt(nil, request, 10))
}

// Cursor is up to where the ERP's changes of an entity are in Procore; "": nothing yet.
func (s *State) Cursor(ctx context.Context, company int64, entity string) (string, error) {
	raw, err := s.get(ctx, fmt.Sprintf("cursor.%d.%s", company, entity))
	return string(raw), err
}

// SaveCursor keeps a cursor; call it only after Procore has everything up to it.
func (s *State) SaveCursor(ctx context.Context, company int64, entity, cursor string) error {
	return s.put(ctx, fmt.Sprintf("cursor.%d.%s", company, entity), []byte(cursor))
}

// attempts of a message that came more than once. The broker's own count is of deliveries
// into a buffer: with it, a poison message would take its innocent neighbours along.
func (s *State) attempts(ctx context.Context, stream, consumer string, seq uint64) (int64, error) {
	return s.getInt(ctx, fmt.Sprintf("attempt.%s.%s.%d", stream, consumer, seq))
}

func (s *State) saveAttempts(ctx context.Context, stream, consumer string, seq uint64, n int64) error {
	_, err := s.kv.Put(ctx, fmt.Sprintf("attempt.%s.%s.%d", stream, consumer, seq), strconv.AppendInt(nil, n, 10))
	return err
}

func (s *State) forgetAttempts(ctx context.Context, stream, consumer string, seq uint64) error {
	return s.kv.Purge(ctx, fmt.Sprintf("attempt.%s.%s.%d", stream, consumer, seq), jetstream.PurgeTTL(time.Hour))
}
