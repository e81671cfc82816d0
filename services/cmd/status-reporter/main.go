// Command status-reporter tells Procore how events ended.
package main

import (
	"os"

	"github.com/tieback/tieback/services/process"
)

func main() { os.Exit(process.Main("status-reporter", process.StatusReporter)) }
