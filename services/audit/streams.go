package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Trace is all that our streams hold of one ERP request.
type Trace struct {
	Request int64
	Type    string    // "_" where it is not known
	Clicked time.Time // by Procore's clock, as the delivery said; zero: no delivery is left
	Runs    map[string]*Run
	Letters []Letter
	Dealt   map[uint64]*tiebackv1.Dealing // by letter
}

// Run is one way of a request through the stops; see bus.Subject. What is late belongs to the
// run whose deadline had passed.
type Run struct {
	Delivery, Event, Outcome, Late Stop
	Closed                         Stop
	Told                           []*tiebackv1.CloseOut // of all closed messages of the run
	Dead                           bool                  // a closed message says that the event lies among the dead letters
}

// Stop is a message of a run; zero: there is none.
type Stop struct {
	At       time.Time
	Sequence uint64
}

// Letter is a dead letter.
type Letter struct {
	Stop
	Run string
	*tiebackv1.DeadLetter
}

// Streams reads a company's traces out of the pipeline's streams.
type Streams struct{ Bus *bus.Bus }

// Since gives the traces of all messages stored since then, by request: one reading of each
// stream, filtered by company.
func (s Streams) Since(ctx context.Context, company int64, since time.Time) (map[int64]*Trace, error) {
	traces := map[int64]*Trace{}
	for _, k := range bus.Kinds {
		filter := fmt.Sprintf("tb.%s.*.*.%d.>", k, company)
		cfg := jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since}
		if err := s.read(ctx, k, cfg, traces); err != nil {
			return nil, err
		}
	}
	return traces, nil
}

// together is how many requests one reading looks for: each takes two filters.
const together = 50

// Of gives the traces of these requests; one that our streams never met has an empty one.
func (s Streams) Of(ctx context.Context, company int64, requests []int64) (map[int64]*Trace, error) {
	traces := map[int64]*Trace{}
	for len(requests) > 0 {
		some := requests[:min(together, len(requests))]
		requests = requests[len(some):]
		for _, k := range bus.Kinds {
			var filters []string
			for _, r := range some {
				trace(traces, r)
				filters = append(filters, fmt.Sprintf("tb.%s.*.*.%d.%d", k, company, r), fmt.Sprintf("tb.%s.*.*.%d.%d.*", k, company, r))
			}
			if err := s.read(ctx, k, jetstream.OrderedConsumerConfig{FilterSubjects: filters}, traces); err != nil {
				return nil, err
			}
		}
	}
	return traces, nil
}

// Kept is how long the pipeline's streams keep a message.
func (s Streams) Kept(ctx context.Context) (time.Duration, error) {
	stream, err := s.Bus.JetStream().Stream(ctx, bus.Delivery.Stream())
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().Config.MaxAge, nil
}

// read reads a stream to its present end. Payloads and what is still to be told are not needed.
func (s Streams) read(ctx context.Context, k bus.Kind, cfg jetstream.OrderedConsumerConfig, into map[int64]*Trace) error {
	cfg.HeadersOnly = k == bus.Event || k == bus.Outcome
	c, err := s.Bus.JetStream().OrderedConsumer(ctx, k.Stream(), cfg)
	if err != nil {
		return fmt.Errorf("stream %s: %w", k.Stream(), err)
	}
	if c.CachedInfo().NumPending == 0 {
		return nil
	}
	it, err := c.Messages(jetstream.PullMaxMessages(512))
	if err != nil {
		return fmt.Errorf("stream %s: %w", k.Stream(), err)
	}
	defer it.Stop()
	for {
		m, err := next(ctx, it)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			if info, err := c.Info(ctx); err == nil && info.NumPending == 0 { // the last ones were deleted meanwhile
				return nil
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("stream %s: %w", k.Stream(), err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("stream %s: %w", k.Stream(), err)
		}
		note(into, m, Stop{At: meta.Timestamp, Sequence: meta.Sequence.Stream})
		if meta.NumPending == 0 {
			return nil
		}
	}
}

// quiet is how long a stream may say nothing until it is asked whether there is more.
const quiet = 5 * time.Second

func next(ctx context.Context, it jetstream.MessagesContext) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, quiet)
	defer cancel()
	return it.Next(jetstream.NextContext(ctx))
}

func trace(traces map[int64]*Trace, request int64) *Trace {
	t := traces[request]
	if t == nil {
		t = &Trace{Request: request, Type: "_", Runs: map[string]*Run{}, Dealt: map[uint64]*tiebackv1.Dealing{}}
		traces[request] = t
	}
	return t
}

func (t *Trace) run(name string) *Run {
	name = strings.TrimSuffix(strings.TrimSuffix(name, "late"), "-")
	if t.Runs[name] == nil {
		t.Runs[name] = &Run{}
	}
	return t.Runs[name]
}

// note adds a message to its request's trace. What no service of ours wrote is nobody's.
func note(traces map[int64]*Trace, m jetstream.Msg, at Stop) {
	s, err := bus.Parse(m.Subject())
	if err != nil {
		return
	}
	t := trace(traces, s.Request)
	if s.Type != "_" {
		t.Type = s.Type
	}
	switch s.Kind {
	case bus.Delivery:
		var d tiebackv1.Delivery
		if proto.Unmarshal(m.Data(), &d) == nil && (t.Clicked.IsZero() || s.Run == "") {
			t.Clicked = d.GetOccurredAt().AsTime()
		}
		t.run(s.Run).Delivery = at
	case bus.Event:
		t.run(s.Run).Event = at
	case bus.Outcome:
		t.noteOutcome(s, at)
	case bus.Closed:
		t.noteClosed(s, m.Data(), at)
	default:
		_ = t.noteLetter(s, m.Data(), at) // foreign
	}
}

func (t *Trace) noteOutcome(s bus.Subject, at Stop) {
	if s.IsLate() {
		t.run(s.Run).Late = at
		return
	}
	t.run(s.Run).Outcome = at
}

func (t *Trace) noteClosed(s bus.Subject, data []byte, at Stop) {
	var o tiebackv1.Outcome
	if proto.Unmarshal(data, &o) != nil {
		return
	}
	r := t.run(s.Run)
	r.Closed, r.Dead = at, r.Dead || o.DeadLettered
	if s.IsLate() {
		r.Late = Stop{} // told
	}
	for _, c := range o.CloseOuts {
		r.Told = append(r.Told, &tiebackv1.CloseOut{RequestDetailId: c.RequestDetailId, Status: c.Status, Stands: c.Stands})
	}
}

func (t *Trace) noteLetter(s bus.Subject, data []byte, at Stop) error {
	switch s.Kind {
	case bus.Dead:
		d := &tiebackv1.DeadLetter{}
		if err := proto.Unmarshal(data, d); err != nil {
			return err
		}
		d.Message = nil // not needed, and large
		t.Letters = append(t.Letters, Letter{Stop: at, Run: s.Run, DeadLetter: d})
	case bus.Dealt:
		d := &tiebackv1.Dealing{}
		if err := proto.Unmarshal(data, d); err != nil {
			return err
		}
		t.Dealt[d.Letter] = d
	default:
		return errors.New("of no kind")
	}
	return nil
}
