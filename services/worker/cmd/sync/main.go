// Command sync processes the sync events.
package main

import (
	"os"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/connectors"
	"github.com/tieback/tieback/services/worker/syncs"
)

func main() { os.Exit(tenant.Main("sync", connectors.Drivers, syncs.Run)) }
