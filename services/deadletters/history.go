package deadletters

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Step is one message of an event's history.
type Step struct {
	At       time.Time // when the broker took it
	Kind     bus.Kind
	Run      string // "": the first; see bus.Subject
	Subject  string
	Sequence uint64        // in the kind's stream
	Message  proto.Message // nil: it does not parse
}

// History reads all that happened to a request, in all its runs, in the order of time. What is
// older than the streams' memory lacks.
func (d *Desk) History(ctx context.Context, company, request int64) ([]Step, error) {
	var all []bus.Message
	for _, k := range bus.Kinds {
		first := fmt.Sprintf("tb.%s.*.*.%d.%d", k, company, request)
		err := d.Bus.Scan(ctx, bus.Scan{Kind: k, Subjects: []string{first, first + ".*"}}, func(m bus.Message) error {
			all = append(all, m)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return Steps(all), nil
}

// Steps are messages of one request as its history, in the order of time.
func Steps(messages []bus.Message) []Step {
	all := make([]Step, 0, len(messages))
	for _, m := range messages {
		if _, kind, ok := strings.Cut(strings.ToLower(m.Stream), "tieback_"); ok {
			all = append(all, step(bus.Kind(kind), m))
		}
	}
	slices.SortStableFunc(all, func(a, b Step) int { return a.At.Compare(b.At) })
	return all
}

func step(k bus.Kind, m bus.Message) Step {
	s := Step{At: m.Stored, Kind: k, Subject: m.Raw, Sequence: m.Sequence, Message: blank(k)}
	s.Run = runOf(s.Subject)
	if proto.Unmarshal(m.Data, s.Message) != nil {
		s.Message = nil
	}
	return s
}

// runOf is the run of a subject; "": the first, or the subject has none.
func runOf(subject string) string {
	if t := strings.Split(subject, "."); len(t) == 7 {
		return t[6]
	}
	return ""
}

// What says in words what happened.
func (s Step) What() string {
	switch m := s.Message.(type) {
	case *tiebackv1.Delivery:
		return "Procore's delivery was taken in"
	case *tiebackv1.Event:
		return fmt.Sprintf("fetched: %s, %d bytes", m.Type, len(m.Payload))
	case *tiebackv1.Outcome:
		return outcomeWords(s.Kind, m)
	case *tiebackv1.DeadLetter:
		return fmt.Sprintf("given up by %s after %d attempts, letter %d: %s", m.Stop, m.Attempts, s.Sequence, m.Error)
	case *tiebackv1.Dealing:
		return fmt.Sprintf("letter %d %s", m.Letter, Told(m))
	}
	return "a message that does not parse"
}

func outcomeWords(k bus.Kind, o *tiebackv1.Outcome) string {
	text := "worked: "
	if k == bus.Closed {
		text = "Procore was told: "
	}
	text += Ended(o)
	if o.DeadLettered {
		text += ", dead-lettered"
	}
	return text
}

// Ended says in words how an outcome's close-outs ended, and where Procore kept another end.
func Ended(o *tiebackv1.Outcome) string {
	var parts []string
	for _, c := range o.CloseOuts {
		part := word(c.Status.String(), "STATUS_")
		if c.RequestDetailId != 0 {
			part = fmt.Sprintf("request detail %d %s", c.RequestDetailId, part)
		}
		if c.Record != "" {
			part += " (" + c.Record + ")"
		}
		if len(c.Messages) > 0 {
			part += fmt.Sprintf(" %q", strings.Join(c.Messages, " "))
		}
		if c.Stands != "" {
			part += fmt.Sprintf(", though Procore keeps it at %s", c.Stands)
		}
		parts = append(parts, part)
	}
	if parts == nil {
		return "nothing to close"
	}
	return strings.Join(parts, "; ")
}

// Stand is how far one run of a request has come.
type Stand struct {
	Run string // "": the first
	At  time.Time
	How string
}

// Stands sums a history up: how each run stands, in the order in which they began.
func Stands(steps []Step) []Stand {
	var order []string
	last, dead := map[string]Step{}, map[string]bool{}
	for _, s := range steps {
		if s.Kind == bus.Dealt {
			continue
		}
		was, begun := last[s.Run]
		if !begun {
			order = append(order, s.Run)
		}
		dead[s.Run] = dead[s.Run] || s.Kind == bus.Dead
		if !begun || rank(s.Kind) >= rank(was.Kind) {
			last[s.Run] = s
		}
	}
	out := make([]Stand, 0, len(order))
	for _, run := range order {
		out = append(out, Stand{Run: run, At: last[run].At, How: how(last[run], dead[run])})
	}
	return out
}

// rank puts the kinds in the order of a run.
func rank(k bus.Kind) int {
	return slices.Index([]bus.Kind{bus.Delivery, bus.Event, bus.Dead, bus.Outcome, bus.Closed}, k)
}

func how(s Step, dead bool) string {
	text := map[bus.Kind]string{
		bus.Delivery: "waits to be fetched", bus.Event: "is being worked, or waits for it", bus.Dead: "dead; Procore was not told anything by it",
		bus.Outcome: "worked; Procore is not told yet",
	}[s.Kind]
	if o, ok := s.Message.(*tiebackv1.Outcome); ok && s.Kind == bus.Closed {
		text = "closed: " + Ended(o)
	}
	if dead && s.Kind != bus.Dead {
		text += "; dead-lettered"
	}
	return text
}
