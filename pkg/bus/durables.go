package bus

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/catalogue"
)

// Durable is a consumer that the broker keeps: how far a stop has come in its stream.
type Durable struct {
	Kind   Kind
	Name   string // of the stop, and of the service that works it
	Filter string // subjects
}

// Durables are all that there are, in the order of the stops: the fetcher, a worker for each category
// of the catalogue, the status-reporter.
func Durables() []Durable {
	all := []Durable{{Kind: Delivery, Name: "fetcher", Filter: Delivery.subjects()}}
	for _, c := range catalogue.Categories {
		all = append(all, Durable{Kind: Event, Name: string(c), Filter: fmt.Sprintf("tb.event.%s.>", c)})
	}
	return append(all, Durable{Kind: Outcome, Name: "status-reporter", Filter: Outcome.subjects()})
}

// subjects is the filter of all that a kind's stream holds.
func (k Kind) subjects() string { return "tb." + string(k) + ".>" }

// durable is what the table says of a consumer, or else what the consumer says of itself.
func (c Consumer) durable() (Durable, error) {
	all := Durables()
	i := slices.IndexFunc(all, func(d Durable) bool { return d.Kind == c.Kind && d.Name == c.Name })
	switch {
	case i < 0 && c.Filter == "":
		return Durable{c.Kind, c.Name, c.Kind.subjects()}, nil
	case i < 0:
		return Durable{c.Kind, c.Name, c.Filter}, nil
	case c.Filter != "" && c.Filter != all[i].Filter:
		return Durable{}, fmt.Errorf("consumer %s works %s, and the table of durable consumers says %s", c.Name, c.Filter, all[i].Filter)
	}
	return all[i], nil
}

// defaultAckWait is until an attempt that was never heard of again is repeated.
const defaultAckWait = 30 * time.Second

func (d Durable) config(ackWait time.Duration) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: d.Name, FilterSubject: d.Filter, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: ackWait, MaxDeliver: -1, MaxAckPending: maxPending, Metadata: layoutMetadata(),
	}
}

// bind gives a durable consumer: makes it, or waits until it is there.
func (b *Bus) consumerFor(ctx context.Context, d Durable, ackWait time.Duration) (jetstream.Consumer, error) {
	what := "consumer " + d.Name
	if b.managed {
		return await(ctx, b, what, func(ctx context.Context) (jetstream.Consumer, error) {
			return b.js.Consumer(ctx, d.Kind.Stream(), d.Name)
		})
	}
	c, _, err := b.ensureDurable(ctx, d, ackWait)
	return c, err
}
