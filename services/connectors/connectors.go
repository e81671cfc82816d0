// Package connectors lists the connectors that the workers are built with.
package connectors

import (
	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/remote"
	"github.com/tieback/tieback/services/connectors/tryton"
)

// Drivers are the drivers by the name that the companies file gives them. Treat it as read-only.
var Drivers = connector.Drivers{"remote": remote.Open, "tryton": tryton.Open}
