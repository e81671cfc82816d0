// Command export works the export events.
package main

import (
	"os"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/services/process"
)

func main() { os.Exit(process.Main("export", process.Worker(catalogue.Export))) }
