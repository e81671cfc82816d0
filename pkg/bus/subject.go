package bus

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/catalogue"
)

// Subject is the subject of one message of an ERP request. All kinds have the same tokens:
//
//	tb.<kind>.<category>.<event type>.<company>.<erp request>[.<run>]
//	tb.event.unlink.*.7.>       every unlink of company 7
//	tb.*.*.*.7.123              the first run of one request
//	tb.*.*.*.7.123.*            its further runs
//
// Category and type are "_" if they are not known (for every delivery, and for unknown types). A subject of any kind but
// dead has at most one message, so a repeated step has a run of its own:
//
//	      none: the first run
//	42    the replay of dead letter 42 (in a resolution's subject: the resolution of dead letter 42)
//	42-2  the same for the second resolution of dead letter 42
//	late  an outcome that came after its event was reported as expired (42-late: the same for the replay of dead letter 42)
//	swept the outcome of a request detail that the sweep found open, without an event
type Subject struct {
	Kind     Kind
	Category catalogue.Category
	Type     string
	Company  int64
	Request  int64
	Run      string
}

// Kind is the kind of a message. Each kind has its own stream.
type Kind = topology.Kind

// The kinds; see package topology.
const (
	Delivery   = topology.Delivery
	Event      = topology.Event
	Outcome    = topology.Outcome
	Closed     = topology.Closed
	Dead       = topology.Dead
	Resolution = topology.Resolution
)

// Kinds lists all kinds, in the order of the pipeline.
var Kinds = topology.Kinds

// For returns the subject of a kind for an event type; an unknown type becomes "_".
func For(kind Kind, eventType string, company, request int64) Subject {
	row, ok := catalogue.Lookup(eventType)
	if !ok {
		row = catalogue.EventType{Name: catalogue.Unknown, Category: catalogue.Unknown}
	}
	return Subject{Kind: kind, Category: row.Category, Type: row.Name, Company: company, Request: request}
}

// Any returns a filter for the messages of a kind of one request, of any type. Last and Has accept it; it can't be
// published to.
func Any(kind Kind, company, request int64) Subject {
	return Subject{Kind: kind, Category: "*", Type: "*", Company: company, Request: request}
}

// WithRun returns the subject with another run; see Subject.
func (s Subject) WithRun(run string) Subject {
	s.Run = run
	return s
}

// Late returns the subject of an outcome that arrives after its event was reported as expired.
func (s Subject) Late() Subject {
	if s.Run == "" {
		return s.WithRun(late)
	}
	return s.WithRun(s.Run + "-" + late)
}

// IsLate reports whether the run is one that Late returns.
func (s Subject) IsLate() bool { return strings.HasSuffix(s.Run, late) }

// OfEvent returns the subject of the event that the outcome s belongs to.
func (s Subject) OfEvent() Subject {
	s.Kind = Event
	return s.WithRun(strings.TrimSuffix(strings.TrimSuffix(s.Run, late), "-"))
}

// Runs that are not replays.
const (
	late  = "late"
	Swept = "swept"
)

var runs = regexp.MustCompile(`^([1-9][0-9]*(-[1-9][0-9]*)?(-late)?|late|swept)$`)

func (s Subject) String() string {
	b := make([]byte, 0, 80)
	for _, token := range []string{"tb", string(s.Kind), string(s.Category), s.Type} {
		b = append(append(b, token...), '.')
	}
	b = append(strconv.AppendInt(b, s.Company, 10), '.')
	b = strconv.AppendInt(b, s.Request, 10)
	if s.Run != "" {
		b = append(append(b, '.'), s.Run...)
	}
	return string(b)
}

// Parse parses a subject. It accepts exactly the subjects that String returns for catalogued and unknown types.
func Parse(subject string) (Subject, error) {
	t := strings.Split(subject, ".")
	if len(t) < 6 || len(t) > 7 || t[0] != "tb" || len(t) == 7 && !runs.MatchString(t[6]) {
		return Subject{}, fmt.Errorf("subject %q: want tb.<kind>.<category>.<type>.<company>.<request>[.<run>]", subject)
	}
	company, request := requestOf(subject)
	s := For(Kind(t[1]), t[3], company, request).WithRun(strings.Join(t[6:], ""))
	if s.String() != subject {
		return Subject{}, fmt.Errorf("subject %q: company or request is not a number, or category and type are not those of the catalogue", subject)
	}
	return s, nil
}

// requestOf returns the company and request of a subject, also of one that Parse refuses: a newer version may use other
// categories, types or runs. It returns zeros if they are not numbers.
func requestOf(subject string) (company, request int64) {
	t := strings.Split(subject, ".")
	if len(t) < 6 || t[0] != "tb" {
		return 0, 0
	}
	company, errCompany := strconv.ParseInt(t[4], 10, 64)
	request, errRequest := strconv.ParseInt(t[5], 10, 64)
	if errCompany != nil || errRequest != nil {
		return 0, 0
	}
	return company, request
}
