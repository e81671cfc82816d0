// Command export processes the export events.
package main

import (
	"os"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/connectors"
	"github.com/tieback/tieback/services/worker/exports"
)

func main() { os.Exit(tenant.Main("export", connectors.Drivers, exports.Run)) }
