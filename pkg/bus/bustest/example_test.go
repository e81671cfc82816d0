package bustest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// A handler returns nil or an error of package fault. The consumer acknowledges the message, retries it, or gives it up as
// a dead letter.
func ExampleBus_Consume() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ns, err := server.NewServer(&server.Options{JetStream: true, StoreDir: dir, DontListen: true, NoLog: true, NoSigs: true})
	if err != nil {
		log.Fatal(err)
	}
	ns.Start()
	defer ns.WaitForShutdown()
	defer ns.Shutdown()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b, err := bus.Connect(ctx, bus.Options{InProcess: nats.InProcessServer(ns), Log: zap.NewNop()})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	event := &tiebackv1.Event{CompanyId: 7, ErpRequestId: 42, Type: "create_vendor"}
	if err := b.PublishOnce(ctx, bus.For(bus.Event, event.Type, event.CompanyId, event.ErpRequestId), event); err != nil {
		log.Fatal(err)
	}

	err = b.Consume(ctx, bus.Consumer{
		Kind: bus.Event,
		Name: "export",
		Handle: func(_ context.Context, m bus.Message) error {
			fmt.Printf("attempt %d of request %d\n", m.Attempt, m.Subject.Request)
			if m.Attempt == 1 {
				return fault.New(fault.Transient, errors.New("the ERP is down")) // retried after Backoff, 1 s
			}
			return fault.Permanentf("the vendor has no name")
		},
		GiveUp: func(ctx context.Context, m bus.Message, err error) error {
			fmt.Println("given up:", err)
			cancel() // Consume returns when its context ends
			return b.DeadLetter(context.WithoutCancel(ctx), "export", m, err)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// attempt 1 of request 42
	// attempt 2 of request 42
	// given up: the vendor has no name
}
