// Command ingest receives Procore's webhooks.
package main

import (
	"os"

	"github.com/tieback/tieback/services/process"
)

func main() { os.Exit(process.MainAlone("ingest", process.Ingest)) }
