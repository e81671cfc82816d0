// Command demo is `tieback demo` with the embedded ledger and without the console. It runs the same services. `make run` builds it,
// because it compiles in four fifths of the CPU time of the whole program.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/tieback/tieback/services/tieback/demo"
)

func main() { os.Exit(execute()) }

// execute returns the exit code; see `tieback help demo`.
func execute() int {
	var o demo.Options
	flag.Uint64Var(&o.Seed, "seed", 1, "seed of the random choices of the demo")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "demo: unknown argument %q\n", flag.Arg(0))
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := demo.Run(ctx, o, os.Stdout)
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
	}
	if err != nil || !ok {
		return 1
	}
	return 0
}
