// Command lag-exporter exports to Prometheus the lag of each consumer and the age of its oldest message, the number of
// unresolved dead letters, and whether the broker answers. It is ready as soon as it can be scraped, with or without a
// broker.
package main

import (
	"os"

	"github.com/tieback/tieback/pkg/app"
	"github.com/tieback/tieback/services/lag-exporter"
)

func main() {
	os.Exit(app.Program{Name: "lag-exporter", Run: lagexporter.Run, BrokerOptional: true}.Main())
}
