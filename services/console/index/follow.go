package index

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
)

const (
	// followEvery is the interval in which Run looks for new messages.
	followEvery = time.Second
	// purgeEvery is how long after the last step Run begins to look for what is older than Options.Keep again.
	purgeEvery = time.Hour
	// A transaction has at most batchMessages messages and about batchBytes bytes.
	batchMessages = 40_000
	batchBytes    = 16 << 20
	// chunk is how many messages a reader hands over at once.
	chunk = 256
)

// Run follows the streams until ctx ends, and returns its error. It reads new messages once a second with direct gets, has no
// consumer, and writes nothing to the broker. Between, it deletes in small steps what is older than Options.Keep. After an error it tries again; see Status. One Run at a time may be active.
func (x *Index) Run(ctx context.Context, b *bus.Bus) error {
	var purge struct { // the requests up to the id after were looked at; the next step is due at next
		next  time.Time
		after int64
	}
	for {
		err := x.Update(ctx, b)
		if now := time.Now(); err == nil && !now.Before(purge.next) {
			var more bool
			if purge.after, more, err = x.purgeSome(ctx, now.Add(-x.o.Keep), purge.after); err == nil && !more {
				purge.after, purge.next = 0, now.Add(purgeEvery)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && x.Status().Err == nil {
			x.o.Log.Warn("the index is not up to date", zap.Error(err))
		}
		x.setStatus(func(s *Status) { s.Err = err })
		if x.damaged.Load() {
			x.mu.Lock()
			err := x.replace(ctx, cmp.Or(err, errDamaged))
			x.mu.Unlock()
			if err != nil {
				return fmt.Errorf("index %s: %w", x.path, err)
			}
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(x.every):
		}
	}
}

var errDamaged = errors.New("a search found it corrupt")

// Update reads once what is new in the streams. Use it in place of Run, not beside it.
func (x *Index) Update(ctx context.Context, b *bus.Bus) error {
	if err := x.follow(ctx, b); err != nil {
		return err
	}
	return x.recheck(ctx, time.Now())
}

// cursor is how far a stream was read.
type cursor struct {
	created time.Time // of the stream: another one's sequences mean other messages
	next    uint64
	at      time.Time     // when the message before next was stored
	kept    time.Duration // the stream's retention; 0: for ever
}

// stream is a stream that is read to its present end.
type stream struct {
	kind bus.Kind
	cursor
	last   uint64 // its end
	chunks chan []message
	head   []message // the rest of the chunk that was taken last
}

// follow reads all streams to their present end, merged by time, so that most of a request's messages are written at once.
func (x *Index) follow(ctx context.Context, b *bus.Bus) error {
	cursors, err := x.cursors(ctx)
	if err != nil {
		return err
	}
	var streams []*stream
	var behind uint64
	for _, k := range bus.Kinds {
		s, err := x.look(ctx, b, k, cursors[k])
		if err != nil {
			return err
		}
		if s.next <= s.last {
			behind += s.last + 1 - s.next
			streams = append(streams, s)
		}
	}
	x.setStatus(func(s *Status) { s.Behind = behind })
	if len(streams) > 0 {
		all, ctx := errgroup.WithContext(ctx)
		batches := make(chan batch, 1)
		for _, s := range streams {
			all.Go(func() error { return s.read(ctx, b) })
		}
		all.Go(func() error { return mergeStreams(ctx, streams, batches) })
		all.Go(func() error {
			for batch := range batches {
				if err := x.apply(ctx, batch); err != nil {
					return err
				}
				x.setStatus(func(s *Status) { s.Behind -= min(s.Behind, uint64(len(batch.messages))) })
			}
			return nil
		})
		if err := all.Wait(); err != nil {
			return err
		}
	}
	x.setStatus(func(s *Status) { s.Complete, s.Behind = time.Now(), 0 })
	return nil
}

// look compares a stream with its cursor.
func (x *Index) look(ctx context.Context, b *bus.Bus, k bus.Kind, c cursor) (*stream, error) {
	ctx, cancel := context.WithTimeout(ctx, bus.AnswerTimeout)
	defer cancel()
	js, err := b.JetStream().Stream(ctx, k.Stream())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.Stream(), err)
	}
	info := js.CachedInfo()
	log := x.o.Log.With(zap.String("stream", k.Stream()))
	lost, err := c.lost(ctx, js)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", k.Stream(), err)
	case c.next == 0:
		c.next = 1
	case lost:
		log.Warn("the stream has lost messages that the index has, or was created again: it is read from its start, and the index keeps what it has")
		c.next = 1
	case c.next < info.State.FirstSeq && c.next > 1:
		log.Warn("messages were deleted before the index read them", zap.Uint64("from", c.next), zap.Uint64("to", info.State.FirstSeq-1))
	}
	c.created, c.kept = info.Created, topology.RetentionOf(info.Config)
	if k == bus.Event {
		x.kept.Store(int64(c.kept))
	}
	return &stream{kind: k, cursor: c, last: info.State.LastSeq, chunks: make(chan []message, 4)}, nil
}

// lost reports whether the stream is not the one that was read, or has lost messages that were read. Then others may have their
// sequences.
func (c cursor) lost(ctx context.Context, js jetstream.Stream) (bool, error) {
	info := js.CachedInfo()
	switch {
	case c.next == 0:
		return false, nil
	case !c.created.Equal(info.Created), c.next > info.State.LastSeq+1:
		return true, nil
	case c.next <= info.State.FirstSeq, c.next > info.State.LastSeq: // it was deleted by age, or there is nothing new
		return false, nil
	}
	m, err := js.GetMsg(ctx, c.next-1)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	return err == nil && !m.Time.Equal(c.at), err
}

// errEnd ends a read of a stream.
var errEnd = errors.New("the end that the stream had")

// atTheEnd is later than any message.
var atTheEnd = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)

// read sends the messages of a stream, without payloads.
func (s *stream) read(ctx context.Context, b *bus.Bus) error {
	defer close(s.chunks)
	var some []message
	send := func() error {
		select {
		case s.chunks <- some:
			some = nil
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	_, err := b.Read(ctx, s.kind, s.next, atTheEnd, func(m bus.Message) error {
		if m.Sequence > s.last {
			return errEnd
		}
		stripped := strip(m)
		stripped.kind = s.kind
		if some = append(some, stripped); len(some) == chunk {
			return send()
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnd) {
		return fmt.Errorf("%s: %w", s.kind.Stream(), err)
	}
	return send()
}

// peek returns the stream's next message; nil: it has ended.
func (s *stream) peek() *message {
	for len(s.head) == 0 {
		some, more := <-s.chunks
		if !more {
			return nil
		}
		s.head = some
	}
	return &s.head[0]
}

// batch is what one transaction writes.
type batch struct {
	messages []message
	cursors  map[bus.Kind]cursor
}

// mergeStreams sends the messages of all streams in the order of time.
func mergeStreams(ctx context.Context, streams []*stream, batches chan<- batch) error {
	defer close(batches)
	var all []message
	size := 0
	send := func() error {
		b := batch{messages: all, cursors: map[bus.Kind]cursor{}}
		for _, s := range streams {
			b.cursors[s.kind] = s.cursor
		}
		all, size = make([]message, 0, len(all)), 0
		select {
		case batches <- b:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for {
		var first *stream
		for _, s := range streams {
			if m := s.peek(); m != nil && (first == nil || m.at.Before(first.head[0].at)) {
				first = s
			}
		}
		if err := ctx.Err(); err != nil { // a stream may have ended because its reading failed
			return err
		}
		if first == nil {
			return send()
		}
		m := first.head[0]
		first.head, first.next = first.head[1:], m.sequence+1
		first.at = m.at
		all, size = append(all, m), size+m.size()
		if len(all) == batchMessages || size > batchBytes {
			if err := send(); err != nil {
				return err
			}
		}
	}
}

func (x *Index) cursors(ctx context.Context) (map[bus.Kind]cursor, error) {
	all := map[bus.Kind]cursor{}
	err := x.reading(func(db *sql.DB) error {
		return eachRow(ctx, db, "SELECT kind, created, next, at, kept FROM streams", func(scan func(...any) error) error {
			var k bus.Kind
			var created, next, at, kept int64
			err := scan(&k, &created, &next, &at, &kept)
			all[k] = cursor{time.Unix(0, created), uint64(next), time.Unix(0, at), time.Duration(kept)} //nolint:gosec // written from one
			return err
		})
	})
	return all, err
}
