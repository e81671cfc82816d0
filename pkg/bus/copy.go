package bus

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// Copier copies whole streams out of the broker and back, for `tieback backup` and `tieback restore`. Its methods may be called
// concurrently, but each Snapshot keeps a part of the broker's disk busy.
//
// It uses the snapshots of JetStream, which keep sequences, times and the positions of consumers. The user of the nkey must be in
// the account of the streams (topology.CopyUsers), because the broker sends a snapshot's content to a subject of
// that account.
type Copier struct{ nc *nats.Conn }

// StreamCopy describes the copy of a stream. Config and State are JetStream's own JSON, kept as received so that a field that this
// version does not know survives.
type StreamCopy struct {
	Stream   string          `json:"stream"`
	Config   json.RawMessage `json:"config"`
	State    json.RawMessage `json:"state"`
	Messages uint64          `json:"messages"`
	First    uint64          `json:"first"` // sequence; without a meaning if the stream is empty
	Last     uint64          `json:"last"`
}

const (
	snapshotChunk = 128 << 10 // bytes per message
	chunkTimeout  = 30 * time.Second
	keepAlive     = 2 * time.Second  // less than the broker's limit of 5 s between two acknowledgements of a snapshot
	restoreTime   = 30 * time.Minute // limit for the broker's work after the last chunk
)

// ConnectCopier connects to the broker. Close the copier.
func ConnectCopier(o Options) (*Copier, error) {
	opts := []nats.Option{
		nats.Name("tieback " + o.Name), nats.CustomInboxPrefix(topology.Inbox(cmp.Or(o.Name, "tieback"))), nats.Timeout(AnswerTimeout),
	}
	if o.InProcess != nil {
		opts = append(opts, o.InProcess)
	}
	nc, err := connect(o, opts)
	if err != nil {
		return nil, err
	}
	return &Copier{nc}, nil
}

// Close closes the connection.
func (c *Copier) Close() { c.nc.Close() }

// ErrNoStream is the error of Snapshot for a stream that does not exist.
var ErrNoStream = errors.New("the broker has no such stream")

// Snapshot writes a copy of a stream and of its consumers to w, as they are at one moment; messages may arrive during the copy. A message that
// is removed during the copy may be missing: in a bucket, that of a key that is written again. The broker checks the checksum of each message
// as it reads it. After an error w has a part of the copy, which is worth nothing.
func (c *Copier) Snapshot(ctx context.Context, stream string, w io.Writer) (StreamCopy, error) {
	inbox := c.nc.NewRespInbox()
	chunks, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		return StreamCopy{}, err
	}
	defer func() { _ = chunks.Unsubscribe() }()
	if err := chunks.SetPendingLimits(-1, -1); err != nil { // bounded by the broker's window
		return StreamCopy{}, err
	}
	var r struct {
		apiError
		Config json.RawMessage `json:"config"`
		State  json.RawMessage `json:"state"`
	}
	if err := c.ask(ctx, "STREAM.SNAPSHOT."+stream, map[string]any{"deliver_subject": inbox, "jsck": true, "chunk_size": snapshotChunk}, &r, restoreTime); err != nil {
		return StreamCopy{}, fmt.Errorf("%s: %w", stream, err)
	}
	if err := r.err(); err != nil {
		return StreamCopy{}, fmt.Errorf("%s: %w", stream, err)
	}
	var state jetstream.StreamState
	if err := json.Unmarshal(r.State, &state); err != nil {
		return StreamCopy{}, fmt.Errorf("%s: the state in the broker's answer: %w", stream, err)
	}
	if err := receive(ctx, chunks, w); err != nil {
		return StreamCopy{}, fmt.Errorf("%s: %w", stream, err)
	}
	return StreamCopy{
		Stream: stream, Config: r.Config, State: r.State,
		Messages: state.Msgs, First: state.FirstSeq, Last: state.LastSeq,
	}, nil
}

// receive writes the chunks of a snapshot to w, up to the empty message that ends it.
func receive(ctx context.Context, chunks *nats.Subscription, w io.Writer) error {
	ahead := 0
	for {
		short, cancel := context.WithTimeout(ctx, chunkTimeout)
		m, err := chunks.NextMsgWithContext(short)
		cancel()
		if err != nil {
			return fmt.Errorf("the broker sends nothing more: %w", err)
		}
		if len(m.Data) == 0 {
			if status := m.Header.Get("Status"); status != "" && status != "204" {
				return fmt.Errorf("the broker ended the copy: %s %s", status, m.Header.Get("Description"))
			}
			return nil
		}
		early, err := writeChunk(w, m, ahead)
		if err != nil {
			return err
		}
		ahead = early
	}
}

// writeChunk writes a chunk to w and then acknowledges it, so that a slow w slows the broker down. The broker ends a snapshot of which
// no chunk is acknowledged for five seconds, and w may block for longer, for example while it uploads a part. So writeChunk
// acknowledges chunks early, one per keepAlive. ahead is the number of chunks that were acknowledged early and are not written yet;
// writeChunk returns the new number.
func writeChunk(w io.Writer, m *nats.Msg, ahead int) (int, error) {
	written := make(chan error, 1)
	go func() { _, err := w.Write(m.Data); written <- err }()
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case err := <-written:
			if err != nil || m.Reply == "" { // the last chunk needs no acknowledgement
				return ahead, err
			}
			if ahead > 0 {
				return ahead - 1, nil
			}
			return 0, m.Respond(nil)
		case <-tick.C:
			if m.Reply != "" {
				if err := m.Respond(nil); err != nil {
					return ahead, errors.Join(err, <-written)
				}
				ahead++
			}
		}
	}
}

// Restore creates a stream with its consumers from a copy. replicas is the number of the stream's replicas; 0: as it was. It is
// an error if the stream exists. After an error, a broker that is not in a cluster may keep a stream with a part of the messages.
func (c *Copier) Restore(ctx context.Context, s StreamCopy, replicas int, r io.Reader) error {
	config, err := withReplicas(s.Config, replicas)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Stream, err)
	}
	var begun struct {
		apiError
		DeliverSubject string `json:"deliver_subject"`
	}
	if err := c.ask(ctx, "STREAM.RESTORE."+s.Stream, map[string]any{"config": config, "state": s.State}, &begun, chunkTimeout); err != nil {
		return fmt.Errorf("%s: %w", s.Stream, err)
	}
	if err := begun.err(); err != nil {
		return fmt.Errorf("%s: %w", s.Stream, err)
	}
	chunk := make([]byte, snapshotChunk)
	for {
		n, err := r.Read(chunk)
		if n > 0 {
			if err := c.send(ctx, begun.DeliverSubject, chunk[:n], chunkTimeout); err != nil {
				return fmt.Errorf("%s: %w", s.Stream, err)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.Stream, err)
		}
	}
	if err := c.send(ctx, begun.DeliverSubject, nil, restoreTime); err != nil {
		return fmt.Errorf("%s: %w", s.Stream, err)
	}
	return nil
}

// send sends a chunk and waits for the answer, which is empty for all but the last chunk.
func (c *Copier) send(ctx context.Context, subject string, chunk []byte, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m, err := c.nc.RequestWithContext(ctx, subject, chunk)
	if err != nil {
		return err
	}
	if len(m.Data) == 0 {
		return nil
	}
	var answer apiError
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return fmt.Errorf("the broker's answer: %w", err)
	}
	return answer.err()
}

// State returns the number of messages, and the first and last sequence, of a stream.
func (c *Copier) State(ctx context.Context, stream string) (messages, first, last uint64, err error) {
	var r struct {
		apiError
		State jetstream.StreamState `json:"state"`
	}
	if err := c.ask(ctx, "STREAM.INFO."+stream, nil, &r, chunkTimeout); err != nil {
		return 0, 0, 0, fmt.Errorf("%s: %w", stream, err)
	}
	if err := r.err(); err != nil {
		return 0, 0, 0, fmt.Errorf("%s: %w", stream, err)
	}
	return r.State.Msgs, r.State.FirstSeq, r.State.LastSeq, nil
}

// ask sends a request to JetStream's API.
func (c *Copier) ask(ctx context.Context, call string, request, answer any, limit time.Duration) error {
	var raw []byte
	if request != nil {
		var err error
		if raw, err = json.Marshal(request); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m, err := c.nc.RequestWithContext(ctx, topology.JetStreamAPI+"."+call, raw)
	if errors.Is(err, nats.ErrNoResponders) {
		return errors.New("the broker has no JetStream, or its leader is being elected")
	} else if err != nil {
		return err
	}
	return json.Unmarshal(m.Data, answer)
}

// apiError is the error in an answer of JetStream's API.
type apiError struct {
	Error *jetstream.APIError `json:"error"`
}

func (e apiError) err() error {
	switch {
	case e.Error == nil:
		return nil
	case e.Error.ErrorCode == jetstream.JSErrCodeStreamNotFound:
		return ErrNoStream
	}
	return e.Error
}

// withReplicas returns a stream's configuration with another number of replicas.
func withReplicas(config json.RawMessage, replicas int) (json.RawMessage, error) {
	if replicas == 0 {
		return config, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(config, &fields); err != nil {
		return nil, err
	}
	fields["num_replicas"] = json.RawMessage(fmt.Sprint(replicas))
	return json.Marshal(fields)
}
