// Command status-reporter reports the outcomes of events to Procore.
package main

import (
	"os"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/status-reporter"
)

func main() { os.Exit(tenant.Main("status-reporter", nil, statusreporter.Run)) }
