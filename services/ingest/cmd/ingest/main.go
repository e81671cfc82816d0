// Command ingest receives Procore's webhooks.
package main

import (
	"os"

	"github.com/tieback/tieback/pkg/app"
	"github.com/tieback/tieback/services/ingest"
)

func main() { os.Exit(app.Program{Name: "ingest", Run: ingest.Run}.Main()) }
