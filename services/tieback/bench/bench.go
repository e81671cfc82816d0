// Package bench measures the pipeline beside one that is written by hand (package reference): CPU, throughput, latency and recovery
// on the same work in the same run, every write synced. It also measures fairness, scale and the cost of the console's viewers.
//
//	compare.go, recovery.go   the two pipelines as processes of their own; see rig
//	fair.go, scale.go, viewers.go   `tieback run` inside this process; see withPipeline
//	sandbox.go, erp.go        the child processes that are Procore, the ERP and a connector
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
)

// Options are the flags of `tieback bench`.
type Options struct {
	Events   int    // exports of a burst
	Rounds   int    // of the comparison
	Rate     int    // events per second in the steady part of a round
	Seconds  int    // duration of the steady part
	Programs string // the folder with the programs of the services; "": that of this program
	Full     bool   // 5 rounds of 20,000 events and 20 seconds, then Quota and Recovery
	Scale    bool   // measure the CPU time per event with 1, 100 and 1,000 companies instead
	Backlog  int    // measure how this many events that wait are processed instead; 0: not
	Quota    bool   // measure the calls to Procore per event where its limits are scarce instead
	Recovery bool   // kill each process with SIGKILL and measure the recovery instead

	Profile string // file for a CPU profile; "": none
	Viewers int    // measure the throughput without and with this many viewers of the console instead
	Part    string // be this part of the benchmark instead; see parts

	Stored []int // measure a broker's memory, disk and restart with what it keeps at these rates, in events per day, instead

	Fair        bool // measure ten companies while another has a high load or a failure
	FairRate    int  // exports per second of each measured company; the other has 100 times as many
	FairSeconds int  // duration of each measurement
}

// Run measures and prints the results to out.
func Run(ctx context.Context, o Options, out io.Writer) error {
	if o.Programs == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		o.Programs = filepath.Dir(self)
	}
	switch {
	case o.Part != "":
		run, ok := parts[o.Part]
		if !ok {
			return fmt.Errorf("--part %s: there is no such part", o.Part)
		}
		return run(ctx, os.Getenv)
	case len(o.Stored) > 0:
		return stored(ctx, o.Stored, out)
	case o.Fair:
		return fairness(ctx, o, out)
	case o.Viewers > 0:
		return viewers(ctx, o, out)
	}
	var measurements []func(context.Context, Options, io.Writer) error
	switch {
	case o.Full:
		o.Rounds, o.Events, o.Seconds = 5, 20_000, 20
		measurements = append(measurements, compare, quota, recovery)
	case o.Scale:
		measurements = append(measurements, scale)
	case o.Backlog > 0:
		measurements = append(measurements, backlog)
	case o.Quota:
		measurements = append(measurements, quota)
	case o.Recovery:
		measurements = append(measurements, recovery)
	default:
		measurements = append(measurements, compare)
	}
	for _, measure := range measurements {
		if err := measure(ctx, o, out); err != nil {
			return err
		}
	}
	return nil
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
