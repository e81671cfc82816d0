// Command sandbox runs the stand-in for Procore; see sandbox.Main for its environment.
//
//	sandbox                serves until a signal
//	sandbox healthcheck    asks the one of this container whether it serves
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/tieback/tieback/services/sandbox"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "healthcheck" {
		return healthcheck(ctx)
	}
	if err := sandbox.Main(ctx, os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		return 1
	}
	return 0
}
