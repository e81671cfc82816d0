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

// SetUp creates the streams, buckets and durable consumers, or updates their configuration to this version; messages are
// kept. It waits for the broker until ctx ends, and calls tell for each with what was done: "created", "unchanged", "left
// as a newer version configured it", or "changed: …" with the names of the changed settings. It is idempotent, and
// services may run in the meantime.
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

// ensureDurable creates a consumer, or updates its configuration, unless a newer version wrote it. before is the previous
// configuration; nil: it did not exist.
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

// difference returns what was done to a configuration, in words.
func difference[C any](before *C, after C, metadata map[string]string) string {
	switch {
	case before == nil:
		return "created"
	case isNewer(metadata):
		return "left as a newer version configured it"
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
		return "unchanged"
	}
	slices.Sort(names)
	return "changed: " + strings.Join(names, ", ")
}

// fields returns the settings of a configuration by their JSON names.
func fields(cfg any) map[string]any {
	var all map[string]any
	raw, err := json.Marshal(cfg)
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil {
		return nil // impossible: it came from the broker as JSON
	}
	return all
}
