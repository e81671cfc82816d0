package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// Loss describes messages that a stream has lost after it acknowledged them.
type Loss struct {
	Stream  string `json:"stream"`
	Missing uint64 `json:"missing"` // number of lost messages, at least; 0: not known
	Why     string `json:"why"`     // how the loss was detected
}

// String describes the loss.
func (l Loss) String() string {
	messages := "messages"
	switch l.Missing {
	case 0:
	case 1:
		messages = "1 message"
	default:
		messages = fmt.Sprintf("%d messages", l.Missing)
	}
	return fmt.Sprintf("%s has lost %s that it had acknowledged (%s)", l.Stream, messages, l.Why)
}

// LossAction says what an operator should do about a loss.
const LossAction = "restore the broker's data from a backup, or run tieback sweep and then tieback audit and compare the result with Procore; " +
	"then run tieback losses --accept --reason WHY to stop reporting this loss"

// Gap is a range of sequences that a scan of a whole stream did not find; see Scan.Gap.
type Gap struct {
	Kind     Kind
	From, To uint64
}

// watermark is the state of a stream when it was last read, kept in the bucket tieback-seen to detect losses.
type watermark struct {
	Created         time.Time `json:"created"`          // when the stream was created; the sequences of a recreated stream can't be compared with older ones
	First           uint64    `json:"first"`            // sequence of the oldest message
	FirstTime       time.Time `json:"first_time"`       // when that message was stored
	Last            uint64    `json:"last"`             // sequence of the newest message
	LastTime        time.Time `json:"last_time"`        // when that message was stored
	Lost            uint64    `json:"lost,omitempty"`   // messages lost earlier, which the state of the stream does not show any more
	Why             string    `json:"why,omitempty"`    // how that loss was detected
	BrokerLostBytes uint64    `json:"broker,omitempty"` // as the broker itself reported; that loss is counted already

	Accepted *acceptance `json:"accepted,omitempty"` // nil: no loss was accepted

	revision uint64 // of the key, for the next write
}

// acceptance records that a person has accepted all losses up to a sequence.
type acceptance struct {
	UpTo   uint64    `json:"up_to"`
	Lost   uint64    `json:"lost"` // messages, at least
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
}

// accepted returns the sequence up to which losses are accepted.
func (m watermark) accepted() uint64 {
	if m.Accepted == nil {
		return 0
	}
	return m.Accepted.UpTo
}

// Losses returns the losses of acknowledged messages that no operator has accepted. gaps are those that the caller found when
// it scanned whole streams. A stream that does not exist counts as lost if it has a watermark.
//
// Remover removes only the oldest messages of a stream, after their retention. Losses checks what follows from that:
//
//   - No sequence is missing between the first and the last. No service deletes other messages or rolls them up, and a
//     publication that the broker refuses uses no sequence.
//   - A stream without a retention (TIEBACK_DEAD, TIEBACK_RESOLUTION) begins with sequence 1.
//   - The oldest message that RecordWatermarks has seen exists until its retention ends.
//   - The newest message that RecordWatermarks has seen exists, and no other message has its sequence.
//   - No consumer was delivered a sequence that is higher than the stream's last.
//
// The state bucket has one message per key, and some expire, so only its last sequence is checked. For every stream, Losses
// also includes a loss that the broker itself reports. The broker forgets that loss when it is restarted; RecordWatermarks
// stores it.
//
// A loss of messages that are newer than the last call of RecordWatermarks is detected only if it left a gap or if the
// broker reports it. A loss in the state bucket goes undetected if its sequences are reused before the next call and the
// broker does not report it. The broker still counts a message with a wrong checksum; only a scan detects that it can't
// be read.
//
// Losses makes three requests per stream and one per consumer. It does not check the quota bucket, which may lose its content.
func (b *Bus) Losses(ctx context.Context, gaps ...Gap) ([]Loss, error) {
	checks, err := b.checkStreams(ctx, gaps)
	return lossesOf(checks), err
}

// RecordWatermarks returns the losses, as Losses does, and stores the watermark of each stream that has changed. One process
// at a time should call it, every few seconds.
func (b *Bus) RecordWatermarks(ctx context.Context, gaps ...Gap) ([]Loss, error) {
	checks, err := b.checkStreams(ctx, gaps)
	if err != nil {
		return nil, err
	}
	for _, c := range checks {
		if c.changed && c.mark.Last > 0 {
			// Ignore a watermark that was not written: another process has written a newer one.
			if _, err := b.writeWatermark(ctx, c.stream, c.mark); err != nil {
				return lossesOf(checks), err
			}
		}
	}
	return lossesOf(checks), nil
}

// AcceptLosses returns the losses, as Losses does, and marks them as accepted, so that they are not reported any more. by and
// reason are stored with the watermarks.
func (b *Bus) AcceptLosses(ctx context.Context, by, reason string, gaps ...Gap) ([]Loss, error) {
	checks, err := b.checkStreams(ctx, gaps)
	if err != nil {
		return nil, err
	}
	for _, c := range checks {
		if c.loss == nil {
			continue
		}
		if !c.exists {
			return nil, fmt.Errorf("%s does not exist: run `provisioner`, or start a service that creates it, then run the command again", c.stream)
		}
		m := c.mark
		m.Accepted = &acceptance{UpTo: m.Last, Lost: c.loss.Missing, At: time.Now().UTC(), By: by, Reason: reason}
		m.Lost, m.Why = 0, ""
		written, err := b.writeWatermark(ctx, c.stream, m)
		if err != nil {
			return nil, err
		}
		if !written { // another process, such as lag-exporter, has written it
			return nil, fmt.Errorf("the watermark of %s has changed: run the command again", c.stream)
		}
	}
	return lossesOf(checks), nil
}

// Gaps reads all messages of the kinds and returns the sequences that can't be read; see Scan.Gap.
func (b *Bus) Gaps(ctx context.Context, kinds ...Kind) (gaps []Gap, err error) {
	for _, k := range kinds {
		scan := Scan{Kind: k, Gap: func(g Gap) { gaps = append(gaps, g) }}
		if err := b.Scan(ctx, scan, func(Message) error { return nil }); err != nil {
			return nil, err
		}
	}
	return gaps, nil
}

// check is a stream, compared with its watermark.
type check struct {
	stream   string
	exists   bool
	replicas int
	loss     *Loss     // nil: none
	mark     watermark // the new watermark
	changed  bool      // mark differs from the stored watermark
}

func lossesOf(checks []check) (all []Loss) {
	for _, c := range checks {
		if c.loss != nil {
			all = append(all, *c.loss)
		}
	}
	return all
}

// A new leader may lag for a moment, so a loss in a cluster is confirmed by several readings.
const (
	confirmations = 4
	confirmEvery  = time.Second
)

// checkStreams checks the streams that must not lose messages: those of the kinds, and that of the state bucket.
func (b *Bus) checkStreams(ctx context.Context, gaps []Gap) ([]check, error) {
	var names []string
	for _, k := range Kinds {
		names = append(names, k.Stream())
	}
	names = append(names, topology.State.Stream())
	found := map[string][]Gap{}
	for _, g := range gaps {
		found[g.Kind.Stream()] = append(found[g.Kind.Stream()], g)
	}
	var checks []check
	for _, name := range names {
		for n := 1; ; n++ {
			c, err := b.checkStream(ctx, name, found[name])
			if err != nil {
				return nil, fmt.Errorf("losses of %s: %w", name, err)
			}
			if c.loss == nil || c.replicas <= 1 || n == confirmations {
				checks = append(checks, c)
				break
			}
			select {
			case <-ctx.Done():
				return nil, fmt.Errorf("losses of %s: %w", name, ctx.Err())
			case <-time.After(confirmEvery):
			}
		}
	}
	return checks, nil
}

// checkStream compares a stream with its watermark.
func (b *Bus) checkStream(ctx context.Context, name string, found []Gap) (check, error) {
	ctx, cancel := answerContext(ctx)
	defer cancel()
	c := check{stream: name}
	m, err := b.readWatermark(ctx, name)
	if err != nil {
		return c, err
	}
	delivered, err := b.deliveredUpTo(ctx, name) // read before the stream, whose last sequence can only grow meanwhile
	if err != nil {
		return c, err
	}
	s, err := b.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if m.Last > 0 {
			c.loss = &Loss{Stream: name, Missing: m.Last + 1 - m.First, Why: "the stream does not exist any more"}
		}
		return c, nil
	}
	if err != nil {
		return c, err
	}
	info := s.CachedInfo()
	c.exists, c.replicas = true, info.Config.Replicas
	missing, why, err := b.missing(ctx, s, m, delivered)
	if err != nil {
		return c, err
	}
	shown, err := b.shownGaps(ctx, s, m.accepted(), found)
	if err != nil {
		return c, err
	}
	next := m
	next.Created, next.First, next.Last = info.Created.UTC(), info.State.FirstSeq, info.State.LastSeq
	next.FirstTime, next.LastTime, next.BrokerLostBytes = info.State.FirstTime.UTC(), info.State.LastTime.UTC(), 0
	if lost := info.State.Lost; lost != nil {
		next.BrokerLostBytes = lost.Bytes
		if lost.Bytes != m.BrokerLostBytes && missing+shown == 0 {
			missing, why = max(1, uint64(len(lost.Msgs))), fmt.Sprintf("the broker reports that %d bytes of the stream are lost", lost.Bytes)
		}
	}
	if missing > 0 {
		next.Lost, next.Why = m.Lost+missing, why
	}
	c.mark, c.changed = next, next != m
	if next.Lost+shown > 0 {
		c.loss = &Loss{Stream: name, Missing: next.Lost + shown, Why: next.Why}
		if next.Why == "" {
			c.loss.Why = fmt.Sprintf("it has sequences %d to %d, and not all of them can be read", info.State.FirstSeq, info.State.LastSeq)
		}
	}
	return c, nil
}

// readWatermark reads a stream's watermark; the zero value if it has none.
func (b *Bus) readWatermark(ctx context.Context, stream string) (m watermark, err error) {
	key := topology.Seen.Subject(stream)
	marks, err := b.js.Stream(ctx, topology.Seen.Stream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	raw, err := newest(ctx, marks, key)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return m, nil
	case err != nil:
		return m, err
	case json.Unmarshal(raw.Data, &m) != nil: // a key that was deleted by hand has no data, which does not parse either
		return m, fmt.Errorf("bucket %s: the key %s has a value that no service of Tieback wrote", topology.Seen, stream)
	}
	m.revision = raw.Sequence
	return m, nil
}

// writeWatermark writes a stream's watermark, unless another process has written it since it was read.
func (b *Bus) writeWatermark(ctx context.Context, stream string, m watermark) (written bool, err error) {
	ctx, cancel := answerContext(ctx)
	defer cancel()
	value, err := json.Marshal(m)
	if err != nil {
		return false, err
	}
	_, written, err = b.swap(ctx, topology.Seen, stream, value, m.revision)
	if isNotFound(err) || errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
		return false, fmt.Errorf("the bucket %s does not answer: if it does not exist, run `provisioner`: %w", topology.Seen, err)
	}
	return written, err
}

// missing returns how many messages the stream has lost compared with its watermark, and how that was detected.
func (b *Bus) missing(ctx context.Context, s jetstream.Stream, m watermark, delivered uint64) (uint64, string, error) {
	info := s.CachedInfo()
	now, age := info.State, topology.RetentionOf(info.Config)
	switch {
	case m.Last > 0 && !m.Created.Equal(info.Created):
		return m.Last - min(m.Last, max(m.accepted(), m.First-1)), "the stream was deleted and created again", nil
	case now.LastSeq < m.Last:
		return m.Last - now.LastSeq, fmt.Sprintf("its last sequence went back from %d to %d", m.Last, now.LastSeq), nil
	case now.LastSeq < delivered:
		return delivered - now.LastSeq, fmt.Sprintf("its consumers have received sequence %d, but its last sequence is %d", delivered, now.LastSeq), nil
	case m.Last == 0:
		return 0, "", nil
	case age > 0 && now.FirstSeq > m.First && m.First > m.accepted() && m.FirstTime.Add(age).After(info.TimeStamp.Add(maxClockSkew)):
		return min(now.FirstSeq, m.Last+1) - m.First, fmt.Sprintf("its oldest sequence went from %d to %d, although the messages in between have not yet reached the retention of %v", m.First, now.FirstSeq, age), nil
	}
	if info.Config.Name == topology.State.Stream() { // a newer message of the same key may have replaced the message m.Last
		return 0, "", nil
	}
	n, err := b.overwritten(ctx, s, m)
	return n, fmt.Sprintf("sequence %d, its last one, was lost and then reused for another message", m.Last), err
}

// maxClockSkew is the largest difference between the clocks of a broker's nodes.
const maxClockSkew = time.Minute

// overwritten returns how many messages were lost if the sequence of the newest message in the watermark was reused.
func (b *Bus) overwritten(ctx context.Context, s jetstream.Stream, m watermark) (uint64, error) {
	if m.Last < s.CachedInfo().State.FirstSeq {
		return 0, nil
	}
	is, err := s.GetMsg(ctx, m.Last)
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && is.Time.Equal(m.LastTime) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	newer, err := b.batch(ctx, s.CachedInfo().Config.Name, 1, jetstreamext.GetBatchStartTime(m.LastTime.Add(1)))
	// A newer message may have an older time, if the clock of its leader was behind: the count is then unknown, at least 1.
	if err != nil || len(newer) == 0 || newer[0].Sequence > m.Last {
		return 1, err
	}
	return m.Last + 1 - newer[0].Sequence, nil
}

// shownGaps counts the missing sequences higher than accepted. It counts them in the stream's state and in found (the gaps of
// a scan), and returns the larger number. It returns 0 for the state bucket.
func (b *Bus) shownGaps(ctx context.Context, s jetstream.Stream, accepted uint64, found []Gap) (n uint64, err error) {
	info := s.CachedInfo()
	if info.Config.Name == topology.State.Stream() { // each write of a key deletes the key's previous message
		return 0, nil
	}
	for _, g := range found {
		lost, err := b.unread(ctx, info.Config.Name, max(g.From, accepted+1), g.To)
		if err != nil {
			return 0, err
		}
		n += lost
	}
	var known uint64
	if topology.RetentionOf(info.Config) == 0 && info.State.FirstSeq > accepted+1 {
		known = info.State.FirstSeq - 1 - accepted
	}
	switch {
	case info.State.NumDeleted == 0:
	case accepted == 0:
		known += uint64(info.State.NumDeleted) //nolint:gosec // a count
	default:
		info, err := s.Info(ctx, jetstream.WithDeletedDetails(true))
		if err != nil {
			return 0, err
		}
		for _, deleted := range info.State.Deleted {
			if deleted > accepted {
				known++
			}
		}
	}
	return max(n, known), nil
}

// unread returns how many sequences of a range the stream's leader can't read. The gaps may have been found on a replica that
// lags or is damaged.
func (b *Bus) unread(ctx context.Context, stream string, from, to uint64) (n uint64, err error) {
	for from <= to {
		m, err := b.leaderGet(ctx, stream, from, "")
		if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && m.Sequence > to {
			return n + to + 1 - from, nil
		}
		if err != nil {
			return 0, err
		}
		n += m.Sequence - from
		from = m.Sequence + 1
	}
	return n, nil
}

// deliveredUpTo returns the highest sequence that was delivered to a stream's durable consumers.
func (b *Bus) deliveredUpTo(ctx context.Context, stream string) (last uint64, err error) {
	for _, d := range topology.Durables() {
		if d.Kind.Stream() != stream {
			continue
		}
		switch c, err := b.consumer(ctx, d.Kind, d.Name); {
		case err == nil:
			last = max(last, c.CachedInfo().Delivered.Stream)
		case !isNotFound(err):
			return 0, fmt.Errorf("consumer %s: %w", d.Name, err)
		}
	}
	return last, nil
}
