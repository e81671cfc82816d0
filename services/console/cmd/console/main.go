// Command console serves the operator API and its web pages.
package main

import (
	"os"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/connectors"
	"github.com/tieback/tieback/services/console"
)

func main() { os.Exit(tenant.Main("console", connectors.Drivers, console.Serve)) }
