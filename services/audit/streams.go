package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/procore/delivery"
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
	Told                           []*tiebackv1.CloseOut // of all closed messages of the run, the oldest first
	Left                           string                // the newest closed message says why the request was left alone; see Outcome; "": it was worked
	Dead                           bool                  // the newest closed message says that the event lies among the dead letters
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
		if err := s.read(ctx, bus.Scan{Kind: k, Subjects: []string{filter}, Since: since}, traces); err != nil {
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
			if err := s.read(ctx, bus.Scan{Kind: k, Subjects: filters}, traces); err != nil {
				return nil, err
			}
		}
	}
	return traces, nil
}

// read reads a stream to its present end. Payloads and what is still to be told are not needed.
func (s Streams) read(ctx context.Context, q bus.Scan, into map[int64]*Trace) error {
	return s.Bus.Scan(ctx, q, func(m bus.Message) error {
		note(into, m)
		return nil
	})
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
func note(traces map[int64]*Trace, m bus.Message) {
	s, at := m.Subject, Stop{At: m.Stored, Sequence: m.Sequence}
	if s == (bus.Subject{}) {
		return
	}
	t := trace(traces, s.Request)
	if s.Type != "_" {
		t.Type = s.Type
	}
	switch s.Kind {
	case bus.Delivery:
		var d tiebackv1.Delivery
		if proto.Unmarshal(m.Data, &d) == nil && (t.Clicked.IsZero() || s.Run == "") {
			t.Clicked = delivery.Occurred(&d)
		}
		t.run(s.Run).Delivery = at
	case bus.Event:
		t.run(s.Run).Event = at
	case bus.Outcome:
		t.noteOutcome(s, at)
	case bus.Closed:
		t.noteClosed(s, m.Data, at)
	default:
		_ = t.noteLetter(s, m.Data, at) // foreign
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
	var told []*tiebackv1.CloseOut
	for _, c := range o.CloseOuts {
		told = append(told, &tiebackv1.CloseOut{RequestDetailId: c.RequestDetailId, Status: c.Status, Stands: c.Stands, Messages: reasons(c)})
	}
	if s.IsLate() {
		r.Late = Stop{} // told
	}
	if at.At.Before(r.Closed.At) { // read out of order
		r.Told = append(told, r.Told...)
		return
	}
	r.Closed, r.Dead, r.Left, r.Told = at, o.DeadLettered, o.Left, append(r.Told, told...)
}

// reasons are the messages of a close-out that failed, cut where they are long.
func reasons(c *tiebackv1.CloseOut) (short []string) {
	if c.Status != tiebackv1.Status_STATUS_FAILED {
		return nil
	}
	for _, m := range c.Messages {
		if r := []rune(m); len(r) > maxReason {
			m = string(r[:maxReason]) + "…"
		}
		short = append(short, m)
	}
	return short
}

// maxReason is how many characters of a reason are kept.
const maxReason = 500

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
