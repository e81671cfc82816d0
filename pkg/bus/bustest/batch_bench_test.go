package bustest_test

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
)

// BenchmarkBatch compares the CPU time of brokers and client for n messages of 1 KiB in an atomic batch and alone, with every write
// synced. It is the measurement for minBatch of package bus.
func BenchmarkBatch(b *testing.B) {
	for _, replicas := range []int{1, 3} {
		for _, n := range []int{3, 4, 6, 8, 10, 12, 14, 16, 20} {
			for _, how := range []string{"alone", "batch"} {
				b.Run(fmt.Sprintf("replicas=%d/n=%d/%s", replicas, n, how), func(b *testing.B) { benchmarkBatch(b, replicas, n, how == "batch") })
			}
		}
	}
}

func benchmarkBatch(b *testing.B, replicas, n int, batch bool) {
	var ns *server.Server
	if replicas == 1 {
		ns = bustest.Start(b, server.Options{SyncAlways: true})
	} else {
		nodes := bustest.Nodes(b)
		for _, o := range nodes {
			o.SyncAlways = true
		}
		ns = bustest.StartNodes(b, nodes)[0]
	}
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	c, err := bus.Connect(ctx, bus.Options{InProcess: nats.InProcessServer(ns), Name: "test", Replicas: replicas, Log: zap.NewNop()})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	js, request, data := c.JetStream(), int64(0), make([]byte, 1024)
	b.ResetTimer()
	before := cpuTime(b)
	for range b.N {
		msgs := make([]*nats.Msg, n)
		for i := range msgs {
			request++
			msgs[i] = delivery(request)
			msgs[i].Data = data
		}
		if batch {
			if _, err := jetstreamext.PublishMsgBatch(ctx, js, msgs, jetstreamext.BatchFlowControl{AckTimeout: 5 * time.Second}); err != nil {
				b.Fatal(err)
			}
			continue
		}
		var all sync.WaitGroup
		for _, m := range msgs {
			all.Go(func() {
				if _, err := js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0)); err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
	}
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

// cpuTime returns the CPU time of this process.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
