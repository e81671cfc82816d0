// Command fetcher gets the payload of each delivery from Procore.
package main

import (
	"os"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/fetcher"
)

func main() { os.Exit(tenant.Main("fetcher", nil, fetcher.Run)) }
