// Command fetcher gets the payload of each delivery from Procore.
package main

import (
	"os"

	"github.com/tieback/tieback/services/process"
)

func main() { os.Exit(process.Main("fetcher", process.Fetcher)) }
