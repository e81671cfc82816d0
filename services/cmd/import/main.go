// Command import works the import events.
package main

import (
	"os"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/services/process"
)

func main() { os.Exit(process.Main("import", process.Worker(catalogue.Import))) }
