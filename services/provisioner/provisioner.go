// Package provisioner is the one-shot that makes what the services find at the broker, so that none of
// them needs the right to, and the keys by which the broker tells them apart.
//
//	streams                   makes streams, buckets and durable consumers, or brings them up to this version
//	provisioner keys DIR          makes the nkeys that are missing in DIR, and the broker's file of users
//
// Both can be run again at any time, while services run.
package provisioner

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/tieback/tieback/pkg/app"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/settings"
)

const usage = `usage: streams [--wait 15m]
       provisioner keys [--users FILE] [--owner UID[:GID]] [--mode 0600] [--rotate | --retire] DIR
`

// Run does what args say and returns the exit code: 0 done, 1 failed, 2 wrong usage or settings.
func Run(ctx context.Context, args []string, getenv func(string) string, out, errs io.Writer) int {
	do := setUp
	if len(args) > 0 && args[0] == "keys" {
		do, args = keys, args[1:]
	}
	err := do(ctx, args, getenv, out)
	var wrong *usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(errs, usage)
		return 2
	case errors.As(err, &wrong):
		fmt.Fprintf(errs, "streams: %v\n%s", err, usage)
		return 2
	}
	fmt.Fprintf(errs, "streams: %v\n", err)
	return 1
}

// usageError is a mistake in the arguments or the settings.
type usageError struct{ error }

// parse reads flags, and what is wanted after them.
func parse(f *flag.FlagSet, args []string, want ...string) error {
	f.SetOutput(io.Discard)
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return &usageError{err}
	}
	if f.NArg() != len(want) {
		return &usageError{fmt.Errorf("arguments %q: want %q", f.Args(), want)}
	}
	return nil
}

func setUp(ctx context.Context, args []string, getenv func(string) string, out io.Writer) error {
	f := flag.NewFlagSet("provisioner", flag.ContinueOnError)
	wait := f.Duration("wait", 15*time.Minute, "for the broker, which takes minutes to recover millions of messages")
	if err := parse(f, args); err != nil {
		return err
	}
	s, err := settings.Load(getenv)
	if err != nil {
		return &usageError{err}
	}
	if s.NATSURL == "" {
		return &usageError{errors.New("TIEBACK_NATS_URL is not set: which broker? (nats://host:4222)")}
	}
	log, err := app.Logger(s)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *wait)
	defer cancel()
	o := bus.Options{URL: s.NATSURL, NKeyFile: s.NATSNKeyFile, CAFile: s.NATSCAFile, Name: "provisioner", Replicas: s.Replicas, Log: log}
	return bus.SetUp(ctx, o, func(what, done string) { fmt.Fprintf(out, "%s: %s\n", what, done) })
}
