// Command provisioner creates the broker's streams, buckets and consumers, or the services' keys, and exits.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/tieback/tieback/services/provisioner"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return provisioner.Run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
}
