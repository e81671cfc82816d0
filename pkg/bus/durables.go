package bus

import (
	"context"
	"fmt"
	"slices"
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
	all := []Durable{{Kind: Delivery, Name: "fetcher", Filter: Delivery.subjects()}}
	for _, c := range catalogue.Categories {
		all = append(all, Durable{Kind: Event, Name: string(c), Filter: fmt.Sprintf("tb.event.%s.>", c)})
	}
	return append(all, Durable{Kind: Outcome, Name: "status-reporter", Filter: Outcome.subjects()})
}

// subjects returns the filter of all messages of a kind.
func (k Kind) subjects() string { return "tb." + string(k) + ".>" }

// durable returns the consumer's entry in Durables, or one made from its own settings if it has none.
func (c Consumer) durable() (Durable, error) {
	all := Durables()
	i := slices.IndexFunc(all, func(d Durable) bool { return d.Kind == c.Kind && d.Name == c.Name })
	switch {
	case i < 0 && c.Filter == "":
		return Durable{c.Kind, c.Name, c.Kind.subjects()}, nil
	case i < 0:
		return Durable{c.Kind, c.Name, c.Filter}, nil
	case c.Filter != "" && c.Filter != all[i].Filter:
		return Durable{}, fmt.Errorf("consumer %s has the filter %s, but Durables has %s", c.Name, c.Filter, all[i].Filter)
	}
	return all[i], nil
}

// defaultAckWait is the ack wait of consumers without one of their own.
const defaultAckWait = 30 * time.Second

func (d Durable) config(ackWait time.Duration) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: d.Name, FilterSubject: d.Filter, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: ackWait, MaxDeliver: -1, MaxAckPending: maxPending, Metadata: layoutMetadata(),
	}
}

// consumerFor returns a durable consumer, which it creates or updates, or with a managed topology waits for.
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
