// Command reset works the reset events.
package main

import (
	"os"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/services/process"
)

func main() { os.Exit(process.Main("reset", process.Worker(catalogue.Reset))) }
