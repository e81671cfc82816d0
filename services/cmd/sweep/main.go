// Command sweep finds in Procore what never reached ingest, and brings it in.
package main

import (
	"os"

	"github.com/tieback/tieback/services/process"
)

func main() { os.Exit(process.Main("sweep", process.Sweep)) }
