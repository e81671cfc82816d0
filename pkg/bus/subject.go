package bus

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tieback/tieback/pkg/catalogue"
)

// Subject names one message of one event. Every kind has the same six tokens:
//
//	tb.<kind>.<category>.<event type>.<company>.<erp request>
//	tb.event.unlink.*.7.*       every unlink of company 7
//	tb.*.*.*.7.123              the whole history of one request
//
// Category and type are "_" where they are not known (every delivery; unknown types).
type Subject struct {
	Kind     Kind
	Category catalogue.Category
	Type     string
	Company  int64
	Request  int64
}

// Kind is what a subject carries; each has a stream of its own.
type Kind string

// The five kinds, in the order in which an event meets them.
const (
	Delivery Kind = "delivery" // ingest → fetcher
	Event    Kind = "event"    // fetcher → worker
	Outcome  Kind = "outcome"  // worker → status-reporter
	Closed   Kind = "closed"   // what Procore was told, by the status-reporter
	Dead     Kind = "dead"     // what could not be done, by whoever gave up
)

// Kinds lists all five.
var Kinds = []Kind{Delivery, Event, Outcome, Closed, Dead}

// Stream is the JetStream stream that holds the kind.
func (k Kind) Stream() string { return "TIEBACK_" + strings.ToUpper(string(k)) }

// For is the subject of kind for an event of the given type; an unknown type becomes "_".
func For(kind Kind, eventType string, company, request int64) Subject {
	row, ok := catalogue.Lookup(eventType)
	if !ok {
		row = catalogue.EventType{Name: catalogue.Unknown, Category: catalogue.Unknown}
	}
	return Subject{Kind: kind, Category: row.Category, Type: row.Name, Company: company, Request: request}
}

func (s Subject) String() string {
	b := make([]byte, 0, 80)
	for _, token := range []string{"tb", string(s.Kind), string(s.Category), s.Type} {
		b = append(append(b, token...), '.')
	}
	b = append(strconv.AppendInt(b, s.Company, 10), '.')
	return string(strconv.AppendInt(b, s.Request, 10))
}

// Parse reads a subject; anything that no service of ours would write is an error.
func Parse(subject string) (Subject, error) {
	t := strings.Split(subject, ".")
	if len(t) != 6 || t[0] != "tb" {
		return Subject{}, fmt.Errorf("subject %q: want tb.<kind>.<category>.<type>.<company>.<request>", subject)
	}
	company, err := strconv.ParseInt(t[4], 10, 64)
	if err != nil {
		return Subject{}, fmt.Errorf("subject %q: company: %w", subject, err)
	}
	request, err := strconv.ParseInt(t[5], 10, 64)
	if err != nil {
		return Subject{}, fmt.Errorf("subject %q: request: %w", subject, err)
	}
	s := For(Kind(t[1]), t[3], company, request)
	if s.String() != subject {
		return Subject{}, fmt.Errorf("subject %q: category and type do not fit the catalogue", subject)
	}
	return s, nil
}
