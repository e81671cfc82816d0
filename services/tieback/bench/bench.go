// Package bench measures the pipeline end to end, with every write synced, beside a bare
// JetStream publish in the same run. The sandbox runs in a process of its own, so that the
// CPU seconds are those of the services, the broker and the embedded ERP alone.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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

// Options size the bench.
type Options struct {
	Events  int    // in the throughput run
	Rate    int    // events a second in the steady run, for ten seconds
	Sandbox bool   // be the sandbox
	Profile string // file for a CPU profile of the throughput run; "": none

	Fair        bool // measure one company beside another in trouble instead
	FairRate    int  // exports a second of the one; the other has a hundred times as many
	FairSeconds int  // of each measurement
	FairSandbox bool // be the sandbox of that
}

// Run measures and prints.
func Run(ctx context.Context, o Options, out io.Writer) error {
	if o.Sandbox {
		return serveSandbox(ctx, out)
	}
	if o.FairSandbox {
		return serveFairSandbox(ctx, out)
	}
	if o.Fair {
		return fairness(ctx, o, out)
	}
	dir, err := os.MkdirTemp("", "tieback-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	secrets := local.NewSecrets()
	child, err := startSandbox(ctx, "--sandbox", secrets, local.WebhookURL(l))
	if err != nil {
		return err
	}
	defer child.stop()
	pl, err := local.Open(ctx, local.Parts{Data: dir, ProcoreURL: child.url, AdminAddr: "127.0.0.1:0", LogLevel: zapcore.ErrorLevel, Secrets: secrets})
	if err != nil {
		return err
	}
	defer pl.Close()
	bare, err := barePublish(ctx, pl, 2*time.Second)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	g.Go(func() error { return pl.Run(ctx, l) })
	g.Go(func() error { defer stop(); return measure(ctx, o, child, bare, out) })
	return g.Wait()
}

func measure(ctx context.Context, o Options, child *child, bare float64, out io.Writer) error {
	if _, err := child.press(ctx, 200, 0); err != nil { // warm up: tokens, connections, caches
		return err
	}
	burst, err := child.press(ctx, 1000, 0)
	if err != nil {
		return err
	}
	stop, err := profile(o.Profile)
	if err != nil {
		return err
	}
	before := cpuSeconds()
	full, err := child.press(ctx, o.Events, 0)
	stop()
	if err != nil {
		return err
	}
	cpu := cpuSeconds() - before
	steady, err := child.press(ctx, 10*o.Rate, o.Rate)
	if err != nil {
		return err
	}
	lone, err := child.press(ctx, 5, 1)
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

// barePublish is what the broker takes without us: synchronous publishes, 64 at a time.
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

// profile starts a CPU profile, if one is wanted, and returns what ends it.
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

// cpuSeconds is the user and system time that this process has used.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// get asks the sandbox process for a measurement.
func get(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("sandbox: %s: %s", resp.Status, text)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
