package bus

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// SetUp makes all that services find at the broker: the streams, the buckets and the durable consumers;
// what is there already is brought up to this version, its messages untouched. It waits for the broker
// as long as ctx allows, and tells of each what was done: "made", "as it should be", "left as a newer version
// made it", "changed: …" with the names of what was changed. Services may run meanwhile; twice is harmless.
func SetUp(ctx context.Context, o Options, tell func(what, done string)) error {
	b, err := dial(o)
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.waitForBroker(ctx); err != nil {
		return err
	}
	for _, w := range layout(o) {
		s, before, err := b.ensure(ctx, w)
		if err != nil {
			return err
		}
		tell("stream "+w.Name, difference(before, s.CachedInfo().Config, s.CachedInfo().Config.Metadata))
	}
	for _, d := range Durables() {
		c, before, err := b.ensureDurable(ctx, d, defaultAckWait)
		if err != nil {
			return err
		}
		tell("consumer "+d.Name+" of "+d.Kind.Stream(), difference(before, c.CachedInfo().Config, c.CachedInfo().Config.Metadata))
	}
	return nil
}

// ensureDurable makes a consumer, or brings it up to what is wanted; what a newer version made it leaves.
// Before is nil where it was not.
func (b *Bus) ensureDurable(ctx context.Context, d Durable, ackWait time.Duration) (made jetstream.Consumer, before *jetstream.ConsumerConfig, err error) {
	made, err = create(ctx, b, "consumer "+d.Name, func(ctx context.Context) (jetstream.Consumer, error) {
		c, err := b.js.Consumer(ctx, d.Kind.Stream(), d.Name)
		switch {
		case err == nil && isNewer(c.CachedInfo().Config.Metadata):
			before = &c.CachedInfo().Config
			return c, nil
		case err == nil:
			before = &c.CachedInfo().Config
		case !errors.Is(err, jetstream.ErrConsumerNotFound):
			return nil, err
		}
		return b.js.CreateOrUpdateConsumer(ctx, d.Kind.Stream(), d.config(ackWait))
	})
	return made, before, err
}

// difference says in words what was done to a configuration.
func difference[C any](before *C, after C, metadata map[string]string) string {
	switch {
	case before == nil:
		return "made"
	case isNewer(metadata):
		return "left as a newer version made it"
	}
	var names []string
	was, is := fields(*before), fields(after)
	for name := range is {
		if !reflect.DeepEqual(was[name], is[name]) {
			names = append(names, name)
		}
	}
	for name := range was {
		if _, still := is[name]; !still {
			names = append(names, name)
		}
	}
	if names == nil {
		return "as it should be"
	}
	slices.Sort(names)
	return "changed: " + strings.Join(names, ", ")
}

// fields are a configuration's, as the broker writes them.
func fields(cfg any) map[string]any {
	var all map[string]any
	raw, err := json.Marshal(cfg)
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil {
		return nil // can't be: it came from the broker as JSON
	}
	return all
}
