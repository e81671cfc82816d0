package tryton_test

import (
	"context"
	"testing"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/conformance"
	"github.com/tieback/tieback/services/connectors/tryton"
)

// The driver against a real Tryton keeps the contract, also while trytond is killed.
func TestConformance(t *testing.T) {
	s := ownTryton(t)
	edge := newEdge(t, s.URL())
	settings := s.Settings()
	settings["url"] = edge.URL
	target := conformance.Target{
		Company: company,
		Open:    func(ctx context.Context) (connector.Driver, error) { return tryton.Open(ctx, company, settings) },
		Restart: s.Restart,
	}
	target.Rehearse = rehearse
	conformance.Test(t, target)
}
