package topology

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/catalogue"
)

// Durable is the durable consumer of a stage.
type Durable struct {
	Kind   Kind
	Name   string // of the stage, its service and the consumer
	Filter string // subjects
}

// Durables returns all durable consumers, in the order of the stages: the fetcher, a worker for each category of the
// catalogue, the status-reporter.
func Durables() []Durable {
	all := []Durable{{Kind: Delivery, Name: "fetcher", Filter: Delivery.Subjects()}}
	for _, c := range catalogue.Categories {
		all = append(all, Durable{Kind: Event, Name: string(c), Filter: fmt.Sprintf("tb.event.%s.>", c)})
	}
	return append(all, Durable{Kind: Outcome, Name: "status-reporter", Filter: Outcome.Subjects()})
}

// maxPending is how many unacked messages a consumer may have, running, queued or released for later, before the
// broker delivers no more. Each takes about 300 bytes, in the service and in the broker. 100,000 cost a tenth of a core
// while they wait; the broker takes seconds to scan 500,000.
const maxPending = 1_000_000

// Config returns the configuration of the consumer.
func (d Durable) Config(ackWait time.Duration) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: d.Name, FilterSubject: d.Filter, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: ackWait, MaxDeliver: -1, MaxAckPending: maxPending, Metadata: metadata(),
	}
}
