// Command sweep finds in Procore what never reached ingest, and brings it in.
package main

import (
	"os"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/sweep"
)

func main() { os.Exit(tenant.Main("sweep", nil, sweep.Run)) }
