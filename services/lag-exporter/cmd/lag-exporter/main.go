// Command lag shows Prometheus how far each consumer is behind and how old its oldest message is, how many dead
// letters are unresolved, and whether the broker answers. It is ready as soon as it can be scraped, with or without
// a broker.
package main

import (
	"os"

	"github.com/tieback/tieback/pkg/app"
	"github.com/tieback/tieback/services/lag-exporter"
)

func main() {
	os.Exit(app.Program{Name: "lag-exporter", Run: lagexporter.Run, BrokerOptional: true}.Main())
}
