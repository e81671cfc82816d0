// Package bench measures the throughput and latency of the pipeline. Every write is synced to disk. For comparison it measures
// bare JetStream publishes in the same run. The simulated Procore runs in a process of its own, so that the CPU time is that of
// the services, the broker and the embedded ERP.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"github.com/tieback/tieback/services/tieback/run"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// Options are the flags of `tieback bench`.
type Options struct {
	Events  int    // exports in the throughput run
	Rate    int    // events per second in the steady run, which takes ten seconds
	Profile string // file for a CPU profile of the throughput run; "": none
	Viewers int    // measure the throughput without and with this many viewers of the console instead
	Child   string // run a child process of the bench instead: sandbox, console or viewers; "": none

	Fair        bool // measure one company while another has a high load or a failure
	FairRate    int  // exports per second of the measured company; the other has 100 times as many
	FairSeconds int  // duration of each measurement
}

// Run measures and prints the results to out.
func Run(ctx context.Context, o Options, out io.Writer) error {
	switch {
	case o.Child != "":
		return serveChild(ctx, o.Child, out)
	case o.Fair:
		return fairness(ctx, o, out)
	case o.Viewers > 0:
		return viewers(ctx, o, out)
	}
	return withPipeline(ctx, openOne, func(ctx context.Context, c *child, pl *run.Pipeline) error {
		bare, err := barePublish(ctx, pl, 2*time.Second)
		if err != nil {
			return err
		}
		return measure(ctx, o, c, bare, out)
	})
}

// openOne opens a pipeline for the measured company with the embedded ledger.
func openOne(ctx context.Context, dir, procoreURL string, secrets local.Secrets) (*run.Pipeline, error) {
	return local.Open(ctx, local.Parts{Data: dir, ProcoreURL: procoreURL, AdminAddr: "127.0.0.1:0", LogLevel: zapcore.ErrorLevel, Secrets: secrets})
}

// measure exports vendors in several patterns and prints the results. bare is the rate of bare publishes.
func measure(ctx context.Context, o Options, child *child, bare float64, out io.Writer) error {
	if _, err := child.export(ctx, 200, 0); err != nil { // warm up tokens, connections and caches
		return err
	}
	burst, err := child.export(ctx, 1000, 0)
	if err != nil {
		return err
	}
	stop, err := profile(o.Profile)
	if err != nil {
		return err
	}
	before := cpuSeconds()
	full, err := child.export(ctx, o.Events, 0)
	stop()
	if err != nil {
		return err
	}
	cpu := cpuSeconds() - before
	steady, err := child.export(ctx, 10*o.Rate, o.Rate)
	if err != nil {
		return err
	}
	lone, err := child.export(ctx, 5, 1)
	if err != nil {
		return err
	}
	rate := float64(o.Events) / full.Seconds
	fmt.Fprintf(out, `bare publish, synced         %8.0f messages/s (one stream, 64 publishers, no batches)
end to end                   %8.0f events/s (%d vendor exports, every write synced)
ratio to the bare publish    %8.2f
CPU                          %8.2f s per 1,000 events (services, broker and embedded ERP)
at a steady %3d events/s     %8.0f ms p50, %.0f ms p99, from click to close-out
one event a second           %8.0f ms p50
burst of 1,000 exports       %8d Procore calls
`, bare, rate, o.Events, rate/bare, cpu*1000/float64(o.Events), o.Rate, steady.P50ms, steady.P99ms, lone.P50ms, burst.Calls)
	return nil
}

// barePublish returns the messages per second that 64 publishers achieve with synchronous publishes.
func barePublish(ctx context.Context, pl *run.Pipeline, d time.Duration) (float64, error) {
	js := pl.Bus.JetStream()
	data := make([]byte, 1024)
	var n atomic.Int64
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for range 64 {
		g.Go(func() error {
			for time.Since(start) < d {
				m := &nats.Msg{Subject: fmt.Sprintf("tb.closed._._.1.%d", n.Add(1)), Data: data}
				if _, err := js.PublishMsg(ctx, m); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	return float64(n.Load()) / time.Since(start).Seconds(), err
}

// profile starts a CPU profile and returns a function that ends it. Without a file it does nothing.
func profile(file string) (stop func(), err error) {
	if file == "" {
		return func() {}, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { pprof.StopCPUProfile(); _ = f.Close() }, nil
}

// cpuSeconds returns the user and system time of this process.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
