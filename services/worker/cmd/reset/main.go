// Command reset processes the reset events.
package main

import (
	"os"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/connectors"
	"github.com/tieback/tieback/services/worker/resets"
)

func main() { os.Exit(tenant.Main("reset", connectors.Drivers, resets.Run)) }
