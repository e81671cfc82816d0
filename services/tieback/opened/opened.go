// Package opened connects a command of tieback to what `tieback run` works on, without
// running any of it.
package opened

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/tieback/tieback/services/process"
	"github.com/tieback/tieback/services/tieback/pipeline"
)

// Bench is what a command works with: a pipeline that is connected and runs nothing. Close it.
type Bench struct {
	*pipeline.Pipeline
	alone net.Listener // keeps `tieback run` from starting; nil: there is no need
}

// reach is how long the broker has to answer.
const reach = 10 * time.Second

// Connect reaches the broker of p's settings, the embedded one where they name none. Its
// errors are failures, not mistakes in usage or settings: p has been loaded and checked.
func Connect(ctx context.Context, p *process.Process) (*Bench, error) {
	b := &Bench{}
	var err error
	if p.Settings.NATSURL == "" {
		if b.alone, err = alone(p.Settings.IngestAddr); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, reach)
	defer cancel()
	if b.Pipeline, err = pipeline.Open(ctx, p); err != nil {
		b.leave()
		return nil, err
	}
	return b, nil
}

// Close lets go of the broker, and lets `tieback run` start again.
func (b *Bench) Close() {
	b.Pipeline.Close()
	b.leave()
}

func (b *Bench) leave() {
	if b.alone != nil {
		_ = b.alone.Close() // nothing was accepted on it
	}
}

// alone makes sure that no `tieback run` with these settings has the embedded broker's files
// open, nor opens them meanwhile: two brokers on one folder would spoil it. `tieback run`
// takes its address before it starts the broker, so whoever has the address has the folder.
func alone(ingest string) (net.Listener, error) {
	l, err := net.Listen("tcp", ingest)
	if err != nil {
		return nil, fmt.Errorf("TIEBACK_NATS_URL is not set, so all is kept by the embedded broker, which only one process can open, and tieback run seems to have it: "+
			"stop tieback run first, or give both a broker (%w)", err)
	}
	return l, nil
}
