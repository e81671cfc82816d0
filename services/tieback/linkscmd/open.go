package linkscmd

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/services/process"
	"github.com/tieback/tieback/services/tieback/pipeline"
)

// bench is what the commands work with: a pipeline that is connected and runs nothing.
type bench struct {
	*pipeline.Pipeline
	alone net.Listener // keeps `tieback run` from starting; nil: there is no need
}

func (b *bench) close() {
	b.Close()
	b.leave()
}

func (b *bench) leave() {
	if b.alone != nil {
		_ = b.alone.Close() // nothing was accepted on it
	}
}

// reach is how long the broker has to answer.
const reach = 30 * time.Second

// open checks usage and settings, where an error is exit code 2, then connects.
func open(cmd *cobra.Command, c common) (*bench, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	p, err := process.Load("links")
	if err != nil {
		return nil, err
	}
	if p.Companies[c.company] == nil {
		return nil, fmt.Errorf("--company %d: is not in the companies file (TIEBACK_COMPANIES)", c.company)
	}
	b := &bench{}
	if p.Settings.NATSURL == "" {
		if b.alone, err = alone(p.Settings.IngestAddr); err != nil {
			return nil, failed(cmd, err)
		}
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), reach)
	defer cancel()
	if b.Pipeline, err = pipeline.Open(ctx, p); err != nil {
		b.leave()
		return nil, failed(cmd, err)
	}
	return b, nil
}

// alone makes sure that no `tieback run` with these settings has the embedded broker's files
// open, nor opens them meanwhile: two brokers on one folder would spoil it. `tieback run`
// takes its address before it starts the broker, so whoever has the address has the folder.
func alone(ingest string) (net.Listener, error) {
	l, err := net.Listen("tcp", ingest)
	if err != nil {
		return nil, fmt.Errorf("TIEBACK_NATS_URL is not set, so the links are in the embedded broker, which only one process can open, and tieback run seems to have it: "+
			"stop tieback run first, or give both a broker (%w)", err)
	}
	return l, nil
}
