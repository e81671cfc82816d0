package endtoend

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/tieback/broker"
	"github.com/tieback/tieback/services/tieback/dead"
)

// BenchmarkDeadLetters lists 100,000 letters of 3 KB, then replays 10,000 of them:
//
//	go test -run - -bench DeadLetters -benchtime 1x ./deploy/test/e2e
func BenchmarkDeadLetters(b *testing.B) {
	const letters, replays = 100_000, 10_000
	srv, err := broker.Start(b.TempDir())
	must(b, err)
	defer srv.Close()
	bb, err := bus.Connect(b.Context(), bus.Options{InProcess: srv.InProcess(), Name: "bench", Log: zap.NewNop()})
	must(b, err)
	defer bb.Close()
	bury(b, bb, letters)
	desk := &dead.Resolver{Bus: bb, Who: "bench"}
	for b.Loop() {
		start := time.Now()
		all, err := request.DeadLetters(b.Context(), bb, request.Filter{})
		must(b, err)
		if len(all) != letters {
			b.Fatalf("%d letters listed, want %d", len(all), letters)
		}
		b.ReportMetric(time.Since(start).Seconds(), "s/list")
		start = time.Now()
		if _, err = request.ReadDeadLetter(b.Context(), bb, all[letters/2].ID); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(start).Seconds(), "s/letter")
		start = time.Now()
		var ids []uint64
		for _, l := range all[:replays] {
			ids = append(ids, l.ID)
		}
		dead.ResolveAll(b.Context(), ids, func(ctx context.Context, id uint64) (dead.Resolution, error) {
			return desk.Replay(ctx, id, false)
		}, func(r dead.Result) { must(b, r.Err) })
		b.ReportMetric(float64(replays)/time.Since(start).Seconds(), "replays/s")
		start = time.Now()
		left, err := request.DeadLetters(b.Context(), bb, request.Filter{})
		must(b, err)
		if len(left) != letters-replays {
			b.Fatalf("%d letters left, want %d", len(left), letters-replays)
		}
		b.ReportMetric(time.Since(start).Seconds(), "s/list-after")
	}
}

// bury makes letters of events, each of another request.
func bury(b *testing.B, on *bus.Bus, n int) {
	b.Helper()
	payload := append(append([]byte(`{"request_data":{"vendor":{"name":"`), bytes.Repeat([]byte("x"), 3000)...), `"}}}`...)
	var all sync.WaitGroup
	at := make(chan int)
	for range 1000 {
		all.Go(func() {
			for i := range at {
				s := bus.For(bus.Event, "create_vendor", firstCompany, int64(i+1))
				data, _ := proto.Marshal(&tiebackv1.Event{CompanyId: s.Company, ErpRequestId: s.Request, Type: s.Type, Payload: payload})
				m := bus.Message{Subject: s, Raw: s.String(), Data: data, Attempt: 12, Stream: "TIEBACK_EVENT", Sequence: uint64(i + 1)}
				if err := on.DeadLetter(context.Background(), "export", m, fault.New(fault.Transient, fmt.Errorf("attempt %d: connection refused", i))); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range n {
		at <- i
	}
	close(at)
	all.Wait()
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
