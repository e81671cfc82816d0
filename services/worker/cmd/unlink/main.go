// Command unlink processes the unlink events.
package main

import (
	"os"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/connectors"
	"github.com/tieback/tieback/services/worker/unlinks"
)

func main() { os.Exit(tenant.Main("unlink", connectors.Drivers, unlinks.Run)) }
