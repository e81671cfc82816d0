// Command sandbox runs a simulated Procore. See sandbox.Main for its environment variables.
//
//	sandbox                serves until a signal
//	sandbox healthcheck    exits with 0 if the sandbox in this container accepts connections
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
