package topology

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Retention is how long the messages of a kind are kept after they were stored, if every stage has finished them; see
// bus.Remover. Unfinished messages, dead letters and resolutions are kept for ever. A zero field means what the stream has, or
// DefaultRetention for a new stream.
type Retention struct {
	Delivery, Event, Outcome, Closed time.Duration
}

// Day is 24 hours.
const Day = 24 * time.Hour

// DefaultRetention fits 100,000 requests per day into a broker with 2 GiB of memory; see docs/sizing.md. At that rate no stream has a
// million messages. From there on, the broker does not save a stream's index while it runs, and reads the whole stream after a crash.
var DefaultRetention = Retention{Delivery: 9 * Day, Event: 5 * Day, Outcome: 5 * Day, Closed: 9 * Day}

// The shortest retentions.
const (
	// A delivery keeps the request from being fetched again. Procore repeats a delivery for 12 hours, and lists it as discarded
	// after that. A sweep reads Procore's lists completely once per day, and ignores what may be older than the retention.
	minDelivery = 3 * Day
	// A request may wait for a day at the fetcher and at the status-reporter before they give up. The payload of a request is
	// needed until its outcome was reported.
	minEvent = 2 * Day
)

// Of returns the retention of a kind; 0 for a kind that is kept for ever.
func (r Retention) Of(k Kind) time.Duration {
	switch k {
	case Delivery:
		return r.Delivery
	case Event:
		return r.Event
	case Outcome:
		return r.Outcome
	case Closed:
		return r.Closed
	}
	return 0
}

// WithDefaults returns r with DefaultRetention in place of zero fields.
func (r Retention) WithDefaults() Retention {
	d := DefaultRetention
	for _, f := range []struct{ to, from *time.Duration }{
		{&d.Delivery, &r.Delivery}, {&d.Event, &r.Event}, {&d.Outcome, &r.Outcome}, {&d.Closed, &r.Closed},
	} {
		if *f.from != 0 {
			*f.to = *f.from
		}
	}
	return d
}

// Check returns an error for each rule that the retention breaks. A zero field counts as its default. The errors name the
// environment variables. longest is the longest deadline of an event.
func (r Retention) Check(longest time.Duration) error {
	r = r.WithDefaults()
	var errs []error
	atLeast := func(name string, is, least time.Duration, why string) {
		if is < least {
			errs = append(errs, fmt.Errorf("TIEBACK_RETENTION_%s: %v is too short: it must be at least %v, because %s", name, is, least, why))
		}
	}
	atLeast("DELIVERY", r.Delivery, minDelivery, "the delivery is what recognizes a request that Procore delivers again for 12 hours, and lists for a sweep that may be a day late")
	atLeast("DELIVERY", r.Delivery, r.Event, "a request is known by its delivery (TIEBACK_RETENTION_EVENT)")
	atLeast("EVENT", r.Event, max(minEvent, longest+Day), "the payload is needed until the request's deadline, and until its end was reported, which may take a day more")
	atLeast("OUTCOME", r.Outcome, r.Event, "the outcome is what shows that an event was processed (TIEBACK_RETENTION_EVENT)")
	atLeast("CLOSED", r.Closed, r.Outcome, "the close-out is what shows that an outcome was reported (TIEBACK_RETENTION_OUTCOME)")
	atLeast("CLOSED", r.Closed, r.Delivery, "the close-out is what shows that a delivery was processed, when its event is gone (TIEBACK_RETENTION_DELIVERY)")
	return errors.Join(errs...)
}

// retentionKey is the key of a stream's metadata with its retention, as time.Duration formats it.
const retentionKey = "tieback.retention"

// RetentionOf returns how long a stream keeps finished messages; 0: for ever.
func RetentionOf(c jetstream.StreamConfig) time.Duration {
	if d, err := time.ParseDuration(c.Metadata[retentionKey]); err == nil && d > 0 {
		return d
	}
	return 0
}
