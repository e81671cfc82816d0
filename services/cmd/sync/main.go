// Command sync works the sync events.
package main

import (
	"os"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/services/process"
)

func main() { os.Exit(process.Main("sync", process.Worker(catalogue.Sync))) }
