// Package provisioner creates the broker's streams, buckets and consumers, so that no other service needs the permission, and the
// keys by which the broker identifies the services.
//
//	provisioner               creates streams, buckets and durable consumers, or updates them to this version
//	provisioner keys DIR      creates the nkeys that are missing in DIR, and the broker's users file
//	provisioner cluster-keys NAME   does the same in Secrets of the Kubernetes namespace in which it runs
//
// They are idempotent and may run while services run.
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

const usage = `usage: provisioner [--wait 15m]
       provisioner keys [--users FILE] [--owner UID[:GID]] [--mode 0600] [--backup] [--rotate | --retire] DIR
       provisioner cluster-keys [--rotation NAME] [--backup] [--pause 3m] NAME
`

// Run runs the command that args name and returns its exit code: 0 success, 1 failure, 2 wrong usage or settings.
func Run(ctx context.Context, args []string, getenv func(string) string, out, errs io.Writer) int {
	command := setUp
	if len(args) > 0 && args[0] == "keys" {
		command, args = keys, args[1:]
	} else if len(args) > 0 && args[0] == "cluster-keys" {
		command, args = clusterKeys, args[1:]
	}
	err := command(ctx, args, getenv, out)
	var usageErr *usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(errs, usage)
		return 2
	case errors.As(err, &usageErr):
		fmt.Fprintf(errs, "provisioner: %v\n%s", err, usage)
		return 2
	}
	fmt.Fprintf(errs, "provisioner: %v\n", err)
	return 1
}

// usageError is an error in the arguments or the settings.
type usageError struct{ error }

// parse parses flags and checks that as many arguments as want names follow them.
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
	wait := f.Duration("wait", 15*time.Minute, "how long to wait for the broker, which takes minutes to recover millions of messages")
	if err := parse(f, args); err != nil {
		return err
	}
	s, err := settings.Load(getenv)
	if err != nil {
		return &usageError{err}
	}
	if s.NATSURL == "" {
		return &usageError{errors.New("TIEBACK_NATS_URL is not set; set it to the broker's address, such as nats://host:4222")}
	}
	log, err := app.Logger(s)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *wait)
	defer cancel()
	o := bus.Options{URL: s.NATSURL, NKeyFile: s.NATSNKeyFile, CAFile: s.NATSCAFile, Name: "provisioner", Replicas: s.Replicas, Retention: s.Retention, Log: log}
	return bus.SetUp(ctx, o, func(what, result string) { fmt.Fprintf(out, "%s: %s\n", what, result) })
}
