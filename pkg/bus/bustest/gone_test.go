package bustest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
)

// consumeWhile runs a consumer, calls remove, and returns the error of Consume; nil: Consume did not return within 15 s.
func consumeWhile(t *testing.T, b *bus.Bus, c bus.Consumer, remove func(ctx context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- b.Consume(ctx, c) }()
	if err := remove(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(15 * time.Second):
	}
	cancel()
	<-ended
	return nil
}

// If a stream is deleted, its consumers must not continue silently, as if it were empty.
func TestConsumeReturnsErrorIfStreamIsDeleted(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	publish(t, b, 1)
	began := make(chan struct{}, 1)
	err := consumeWhile(t, b, bus.Consumer{Kind: bus.Delivery, Name: "test", Handle: func(context.Context, bus.Message) error {
		began <- struct{}{}
		return nil
	}}, func(ctx context.Context) error {
		<-began
		return b.JetStream().DeleteStream(ctx, bus.Delivery.Stream())
	})
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("%v: want ErrStreamNotFound", err)
	}
}

// If the consumer is deleted, running handlers are canceled.
func TestDeletedConsumerCancelsHandlers(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	publish(t, b, 1)
	began := make(chan struct{}, 1)
	err := consumeWhile(t, b, bus.Consumer{Kind: bus.Delivery, Name: "test", Handle: func(ctx context.Context, _ bus.Message) error {
		began <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}}, func(ctx context.Context) error {
		<-began
		return b.JetStream().DeleteConsumer(ctx, bus.Delivery.Stream(), "test")
	})
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("%v: want ErrConsumerNotFound", err)
	}
}
