package request

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
)

// Queue is what a stage has not finished, as its durable consumer says. The zero values are those of a consumer that
// does not exist: it would begin with the first message of its stream.
type Queue struct {
	topology.Durable
	Exists      bool                     // the consumer exists: its service has run here, or provisioner has created it
	Pending     uint64                   // not handed out to any process yet
	InFlight    int                      // handed out: worked, prefetched, or waiting for another attempt
	Redelivered int                      // of those, handed out more than once
	Pulls       int                      // requests for messages that processes have open
	Config      jetstream.ConsumerConfig // as the broker has it
	delivered   uint64                   // the highest sequence that was handed out
	floor       uint64                   // up to here all is finished; it may trail after a change of leader
}

// Unfinished is how deep the queue is.
func (q Queue) Unfinished() uint64 { return q.Pending + uint64(q.InFlight) } //nolint:gosec // a count

// Taken reports whether a process takes the stage's work: it asks for messages, or has some.
func (q Queue) Taken() bool { return q.Pulls > 0 || q.InFlight > 0 }

// Queues returns the queue of each stage, in the order of the stages. What the broker did not answer is in unread, by
// stage, and its queue is zero.
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

// ReadQueue returns the queue of one stage. If its consumer does not exist the broker counts what waits for it.
func ReadQueue(ctx context.Context, b *bus.Bus, d topology.Durable) (Queue, error) {
	q := Queue{Durable: d}
	short, cancel := context.WithTimeout(ctx, bus.AnswerTimeout)
	defer cancel()
	c, err := b.JetStream().Consumer(short, d.Kind.Stream(), d.Name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		q.Pending, err = b.Count(ctx, q.waiting(d.Filter))
		return q, err
	}
	if err != nil {
		return q, err
	}
	info := c.CachedInfo()
	q.Exists, q.Config = true, info.Config
	q.Pending, q.InFlight, q.Redelivered, q.Pulls = info.NumPending, info.NumAckPending, info.NumRedelivered, info.NumWaiting
	q.delivered, q.floor = info.Delivered.Stream, info.AckFloor.Stream
	return q, nil
}

// DeliveryState says how far the broker has come with a message of a queue.
type DeliveryState string

// The values of DeliveryState.
const (
	Queued     DeliveryState = "queued"   // no process was given it yet
	Delivered  DeliveryState = "out"      // a process was given it, and has not said that it is done
	Settled    DeliveryState = "let go"   // the stage is done with it
	NoConsumer DeliveryState = "no queue" // the stage has never run on this broker
	NotRead    DeliveryState = "unknown"  // the broker could not be asked
)

// DeliveryState says how far the broker has come with the message of a sequence.
func (q Queue) DeliveryState(seq uint64) DeliveryState {
	switch {
	case !q.Exists:
		return NoConsumer
	case seq > q.delivered:
		return Queued
	case seq <= q.floor || q.InFlight == 0:
		return Settled
	}
	return Delivered
}

// waiting scans what was not handed out yet.
func (q Queue) waiting(filter string) bus.Scan {
	return bus.Scan{Kind: q.Kind, Subjects: []string{filter}, After: q.delivered}
}

// handedOut scans what was handed out and may be unfinished.
func (q Queue) handedOut() bus.Scan {
	return bus.Scan{Kind: q.Kind, Subjects: []string{q.Filter}, After: q.floor}
}

// mostFinished is how many finished messages Oldest passes over, at two or three lookups each.
const mostFinished = 32

// Oldest returns the oldest unfinished message; false: there is none. It is the first above the floor that the consumer
// wants, unless that was finished while the floor trails. If more than a few were, it may return a finished one.
func (q Queue) Oldest(ctx context.Context, b *bus.Bus) (m bus.Message, found bool, err error) {
	scan, passed := q.handedOut(), 0
	if q.InFlight == 0 {
		scan = q.waiting(q.Filter)
	}
	if q.Unfinished() == 0 {
		return m, false, nil
	}
	for {
		if m, found, err = first(ctx, b, scan); err != nil || !found || m.Sequence > q.delivered || passed == mostFinished {
			return m, found, err
		}
		done, err := q.finished(ctx, b, m)
		if err != nil || !done {
			return m, true, err
		}
		scan.After, passed = m.Sequence, passed+1
	}
}

// first returns a scan's first message, and reads no other; an event may weigh megabytes.
func first(ctx context.Context, b *bus.Bus, scan bus.Scan) (bus.Message, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, bus.AnswerTimeout)
	defer cancel()
	s, err := b.JetStream().Stream(ctx, scan.Kind.Stream()) // it says whether it may be read without its leader
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
	return bus.Message{Subject: subject, Raw: m.Subject, Data: m.Data, Stored: m.Time, Stream: scan.Kind.Stream(), Sequence: m.Sequence}, true, nil
}

// answers are the kinds whose messages say that a stage has finished one of a kind.
var answers = map[bus.Kind][]bus.Kind{
	bus.Delivery: {bus.Event, bus.Outcome, bus.Dead},
	bus.Event:    {bus.Outcome, bus.Dead},
	bus.Outcome:  {bus.Closed}, // a dead letter of its run may be its event's
}

// finished reports whether a message has an answer further down the pipeline.
func (q Queue) finished(ctx context.Context, b *bus.Bus, m bus.Message) (bool, error) {
	for _, k := range answers[q.Kind] {
		has, err := b.Has(ctx, bus.Any(k, m.Subject.Company, m.Subject.Request).WithRun(m.Subject.Run))
		if has || err != nil {
			return has, err
		}
	}
	return false, nil
}

// Each calls each for the unfinished messages: of those handed out the first most, and of those that wait the first
// most, oldest first. cut says that there are more; inexact, that too much was finished lately to tell which are
// unfinished, and that finished ones may be among them.
func (q Queue) Each(ctx context.Context, b *bus.Bus, most int, each func(bus.Message)) (cut, inexact bool, err error) {
	if q.InFlight > 0 {
		if cut, inexact, err = q.eachInFlight(ctx, b, most, each); err != nil {
			return cut, inexact, err
		}
	}
	if q.Pending == 0 {
		return cut, inexact, nil
	}
	more, err := firsts(ctx, b, q.waiting(q.Filter), most, func(bus.Message) bool { return true }, each)
	return cut || more, inexact, err
}

// eachInFlight is Each of the messages that were handed out. All of those above the floor are unfinished if the numbers
// say so; else those with an answer further down the pipeline are finished.
func (q Queue) eachInFlight(ctx context.Context, b *bus.Bus, most int, each func(bus.Message)) (cut, inexact bool, err error) {
	var seen []bus.Message
	cut, err = firsts(ctx, b, q.handedOut(), most, func(m bus.Message) bool { return m.Sequence <= q.delivered }, func(m bus.Message) { seen = append(seen, m) })
	if err != nil {
		return cut, false, err
	}
	done := map[bus.Subject]bool{}
	if len(seen) > q.InFlight {
		if inexact, err = q.finishedSince(ctx, b, seen[0], 5*most, done); err != nil {
			return cut, inexact, err
		}
	}
	for _, m := range seen {
		if !done[runKey(m.Subject)] {
			each(m)
		}
	}
	return cut, inexact, nil
}

// finishedSince adds the runs that have an answer further down, written since a message was. It looks at most answers of
// a kind; cut says that there are more.
func (q Queue) finishedSince(ctx context.Context, b *bus.Bus, since bus.Message, most int, done map[bus.Subject]bool) (cut bool, err error) {
	for _, k := range answers[q.Kind] {
		more, err := firsts(ctx, b, bus.Scan{Kind: k, Since: since.Stored}, most, func(bus.Message) bool { return true }, func(m bus.Message) { done[runKey(m.Subject)] = true })
		if err != nil {
			return cut, err
		}
		cut = cut || more
	}
	return cut, nil
}

// firsts calls each for a scan's first messages, as long as they are wanted; cut says that there are more than most.
func firsts(ctx context.Context, b *bus.Bus, scan bus.Scan, most int, wanted func(bus.Message) bool, each func(bus.Message)) (cut bool, err error) {
	n := 0
	err = b.Scan(ctx, scan, func(m bus.Message) error {
		if !wanted(m) {
			return bus.ErrStopScan
		}
		if n++; n > most {
			cut = true
			return bus.ErrStopScan
		}
		each(m)
		return nil
	})
	return cut, err
}

// runKey is what the messages of one run of a request share at every stage.
func runKey(s bus.Subject) bus.Subject {
	return bus.Subject{Company: s.Company, Request: s.Request, Run: s.Run}
}

// PendingOf returns how many messages of a company wait, as the broker counts them, and the first of them. With a
// million messages on subjects of their own it takes the broker some 10 ms.
func (q Queue) PendingOf(ctx context.Context, b *bus.Bus, company int64) (n uint64, oldest bus.Message, err error) {
	filter := strings.TrimSuffix(q.Filter, ">") + "*." + strconv.FormatInt(company, 10) + ".>"
	if strings.Count(q.Filter, ".") == 2 { // tb.<kind>.>: the category is any
		filter = fmt.Sprintf("tb.%s.*.*.%d.>", q.Kind, company)
	}
	scan := q.waiting(filter)
	if n, err = b.Count(ctx, scan); n == 0 || err != nil {
		return n, oldest, err
	}
	oldest, _, err = first(ctx, b, scan)
	return n, oldest, err
}
