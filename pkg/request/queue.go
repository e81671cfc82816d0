package request

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/catalogue"
)

// Queue counts the messages that a stage has not finished, as its durable consumer reports them. If the consumer does not
// exist, Pending counts all messages of the stream that its filter selects, and the other fields, except Durable, are zero.
type Queue struct {
	topology.Durable
	Exists      bool                     // the consumer exists
	Pending     uint64                   // not delivered to a process yet
	InFlight    int                      // delivered: being processed, prefetched, or waiting for another attempt
	Redelivered int                      // the messages in flight that were delivered more than once
	Pulls       int                      // pull requests that wait at the broker
	Config      jetstream.ConsumerConfig // as the broker has it
	delivered   uint64                   // the highest sequence that was delivered
	ackFloor    uint64                   // messages up to this sequence are finished; it may lag after a change of leader
}

// Unfinished returns the number of messages in the queue.
func (q Queue) Unfinished() uint64 { return q.Pending + uint64(q.InFlight) } //nolint:gosec // a count

// Consumed reports whether a process asks for messages of the queue, or has some in flight.
func (q Queue) Consumed() bool { return q.Pulls > 0 || q.InFlight > 0 }

// Queues returns the queues in the order of the stages. unread has, by stage, the errors of the queues that could not be read;
// such a Queue has only its Durable.
func Queues(ctx context.Context, b *bus.Bus) (all []Queue, unread map[string]error) {
	unread = map[string]error{}
	for _, d := range topology.Durables() {
		q, err := ReadQueue(ctx, b, d)
		if err != nil {
			unread[d.Name] = err
		}
		all = append(all, q)
	}
	return all, unread
}

// ReadQueue returns the queue of one stage. See Queue for a consumer that does not exist.
func ReadQueue(ctx context.Context, b *bus.Bus, d topology.Durable) (Queue, error) {
	q := Queue{Durable: d}
	short, cancel := context.WithTimeout(ctx, bus.AnswerTimeout)
	defer cancel()
	c, err := b.JetStream().Consumer(short, d.Kind.Stream(), d.Name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		q.Pending, err = b.Count(ctx, q.waitingScan(d.Filter))
		return q, err
	}
	if err != nil {
		return q, err
	}
	info := c.CachedInfo()
	q.Exists, q.Config = true, info.Config
	q.Pending, q.InFlight, q.Redelivered, q.Pulls = info.NumPending, info.NumAckPending, info.NumRedelivered, info.NumWaiting
	q.delivered, q.ackFloor = info.Delivered.Stream, info.AckFloor.Stream
	return q, nil
}

// DeliveryState says whether a stage's consumer has delivered a message.
type DeliveryState string

// The values of DeliveryState.
const (
	Queued     DeliveryState = "waiting"      // not delivered yet
	Delivered  DeliveryState = "in-flight"    // delivered to a process, and not acknowledged
	Settled    DeliveryState = "acknowledged" // the stage has finished it
	NoConsumer DeliveryState = "no-consumer"  // the stage has never run on this broker
	NotRead    DeliveryState = "unknown"      // the broker did not answer
)

// DeliveryState returns the state of the message with a sequence.
func (q Queue) DeliveryState(seq uint64) DeliveryState {
	switch {
	case !q.Exists:
		return NoConsumer
	case seq > q.delivered:
		return Queued
	case seq <= q.ackFloor || q.InFlight == 0:
		return Settled
	}
	return Delivered
}

// waitingScan returns a Scan of the messages that a filter selects and that were not delivered yet.
func (q Queue) waitingScan(filter string) bus.Scan {
	return bus.Scan{Kind: q.Kind, Subjects: []string{filter}, After: q.delivered}
}

// unfinishedScan returns a Scan of the messages above the ack floor: those that were delivered and may be unfinished, then
// those that were not delivered yet.
func (q Queue) unfinishedScan() bus.Scan {
	return bus.Scan{Kind: q.Kind, Subjects: []string{q.Filter}, After: q.ackFloor}
}

// maxSkipped is the largest number of finished messages that Oldest skips, at two or three lookups each.
const maxSkipped = 32

// Oldest returns the oldest unfinished message, or false if there is none. If the ack floor lags by more than 32 messages, the
// message may be a finished one.
func (q Queue) Oldest(ctx context.Context, b *bus.Bus) (m bus.Message, found bool, err error) {
	scan := q.unfinishedScan()
	if q.InFlight == 0 {
		scan = q.waitingScan(q.Filter)
	}
	if q.Unfinished() == 0 {
		return m, false, nil
	}
	for skipped := 0; ; skipped++ {
		if m, found, err = first(ctx, b, scan); err != nil || !found || m.Sequence > q.delivered || skipped == maxSkipped {
			return m, found, err
		}
		done, err := q.finished(ctx, b, m)
		if err != nil || !done {
			return m, true, err
		}
		scan.After = m.Sequence
	}
}

// first returns the first message of a scan. It reads no other, because an event may have megabytes.
func first(ctx context.Context, b *bus.Bus, scan bus.Scan) (bus.Message, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, bus.AnswerTimeout)
	defer cancel()
	s, err := b.JetStream().Stream(ctx, scan.Kind.Stream()) // reads the stream's configuration, from which GetMsg sees whether replicas may answer
	if err != nil {
		return bus.Message{}, false, err
	}
	m, err := s.GetMsg(ctx, scan.After+1, jetstream.WithGetMsgSubject(scan.Subjects[0]))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return bus.Message{}, false, nil
	}
	if err != nil {
		return bus.Message{}, false, err
	}
	subject, _ := bus.Parse(m.Subject)
	return bus.Message{Subject: subject, RawSubject: m.Subject, Data: m.Data, Stored: m.Time, Stream: scan.Kind.Stream(), Sequence: m.Sequence}, true, nil
}

// resultKinds maps the kind of a queued message to the kinds of the results that its stage may publish.
var resultKinds = map[bus.Kind][]bus.Kind{
	bus.Delivery: {bus.Event, bus.Outcome, bus.Dead},
	bus.Event:    {bus.Outcome, bus.Dead},
	bus.Outcome:  {bus.Closed}, // not Dead: a dead letter with this subject may be for the event, not for the outcome
}

// finished reports whether the stage has published a result of a message.
func (q Queue) finished(ctx context.Context, b *bus.Bus, m bus.Message) (bool, error) {
	if m.Subject == (bus.Subject{}) {
		return false, nil // no service wrote the message, so no service publishes a result of it
	}
	for _, k := range resultKinds[q.Kind] {
		result := m.Subject
		if result.Kind = k; q.Kind == bus.Delivery && k == bus.Event {
			result = bus.Any(k, m.Subject.Company, m.Subject.Request).WithRun(m.Subject.Run)
		}
		has, err := b.Has(ctx, result)
		if has || err != nil {
			return has, err
		}
	}
	return false, nil
}

// Each calls visit for at most limit messages in flight and at most limit waiting messages, oldest first. more reports whether
// there are more messages. inexact reports that visit may have been called for finished messages too, because too many messages
// have finished recently to check all of them.
func (q Queue) Each(ctx context.Context, b *bus.Bus, limit int, visit func(bus.Message)) (more, inexact bool, err error) {
	if q.InFlight > 0 {
		if more, inexact, err = q.eachInFlight(ctx, b, limit, visit); err != nil {
			return more, inexact, err
		}
	}
	if q.Pending == 0 {
		return more, inexact, nil
	}
	others, err := firstN(ctx, b, q.waitingScan(q.Filter), math.MaxUint64, limit, visit)
	return more || others, inexact, err
}

// eachInFlight is Each for the messages in flight. The delivered messages above the ack floor may include finished ones. If it
// reads more delivered messages than are in flight, some are finished, and it leaves out those that have a result.
func (q Queue) eachInFlight(ctx context.Context, b *bus.Bus, limit int, visit func(bus.Message)) (more, inexact bool, err error) {
	var seen []bus.Message
	more, err = firstN(ctx, b, q.unfinishedScan(), q.delivered, limit, func(m bus.Message) { seen = append(seen, m) })
	if err != nil {
		return more, false, err
	}
	done := map[bus.Subject]bool{}
	if len(seen) > q.InFlight {
		if inexact, err = q.finishedSince(ctx, b, seen[0].Stored, 5*limit, done); err != nil {
			return more, inexact, err
		}
	}
	for _, m := range seen {
		if !done[q.resultKey(m.Subject)] {
			visit(m)
		}
	}
	return more, inexact, nil
}

// finishedSince adds the resultKey of each result that was stored at or after the time since to the set done. It reads at most
// limit results per kind. more reports whether there are more results.
func (q Queue) finishedSince(ctx context.Context, b *bus.Bus, since time.Time, limit int, done map[bus.Subject]bool) (more bool, err error) {
	for _, k := range resultKinds[q.Kind] {
		others, err := firstN(ctx, b, bus.Scan{Kind: k, Since: since}, math.MaxUint64, limit, func(m bus.Message) { done[q.resultKey(m.Subject)] = true })
		if err != nil {
			return more, err
		}
		more = more || others
	}
	return more, nil
}

// firstN calls visit for the first n messages of a scan, up to the sequence last. more reports whether the scan has more messages
// up to there.
func firstN(ctx context.Context, b *bus.Bus, scan bus.Scan, last uint64, n int, visit func(bus.Message)) (more bool, err error) {
	seen := 0
	err = b.Scan(ctx, scan, func(m bus.Message) error {
		if m.Sequence > last {
			return bus.ErrStopScan
		}
		if seen++; seen > n {
			more = true
			return bus.ErrStopScan
		}
		visit(m)
		return nil
	})
	return more, err
}

// resultKey returns what a queued message and its results have in common: the subject without its kind. For an event that is the
// result of a delivery it also drops the category and the type, because a delivery has neither.
func (q Queue) resultKey(s bus.Subject) bus.Subject {
	if q.Kind == bus.Delivery && s.Kind == bus.Event {
		s.Category, s.Type = catalogue.Unknown, catalogue.Unknown
	}
	s.Kind = ""
	return s
}

// PendingOf returns the number of a company's messages that were not delivered yet, and the oldest of them. The broker counts
// a million messages in about 10 ms.
func (q Queue) PendingOf(ctx context.Context, b *bus.Bus, company int64) (n uint64, oldest bus.Message, err error) {
	filter := strings.TrimSuffix(q.Filter, ">") + "*." + strconv.FormatInt(company, 10) + ".>"
	if strings.Count(q.Filter, ".") == 2 { // tb.<kind>.>: the category is any
		filter = fmt.Sprintf("tb.%s.*.*.%d.>", q.Kind, company)
	}
	scan := q.waitingScan(filter)
	if n, err = b.Count(ctx, scan); n == 0 || err != nil {
		return n, oldest, err
	}
	oldest, _, err = first(ctx, b, scan)
	return n, oldest, err
}
