// Command import processes the import events.
package main

import (
	"os"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/connectors"
	"github.com/tieback/tieback/services/worker/imports"
)

func main() { os.Exit(tenant.Main("import", connectors.Drivers, imports.Run)) }
