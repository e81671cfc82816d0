// Command unlink works the unlink events.
package main

import (
	"os"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/services/process"
)

func main() { os.Exit(process.Main("unlink", process.Worker(catalogue.Unlink))) }
