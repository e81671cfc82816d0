// Package wire makes a target of the conformance suite of a connector that speaks gRPC.
package wire

import (
	"context"
	"fmt"
	"time"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/conformance"
	"github.com/tieback/tieback/pkg/connector/conformance/rehearsal"
	"github.com/tieback/tieback/pkg/connector/remote"
)

// askFor is how long a connector is waited for when it is asked whether it rehearses.
const askFor = 10 * time.Second

// Target is the connector that the settings of package remote name. It rehearses faults
// where the connector says that it does. Restart is the caller's to set. Errors: settings that
// make no sense, each naming its field, or a connector that doesn't answer.
func Target(ctx context.Context, company int64, settings map[string]string) (conformance.Target, error) {
	t := conformance.Target{
		Company: company,
		Open:    func(ctx context.Context) (connector.Driver, error) { return remote.Open(ctx, company, settings) },
	}
	d, err := t.Open(ctx) // checks the settings
	if err != nil {
		return t, err
	}
	_ = d.Close() // nothing was sent
	asked, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	offered, err := rehearsal.Offered(asked, company, settings)
	if err != nil {
		return t, fmt.Errorf("the connector at %s does not answer: %w", settings["address"], err)
	}
	if offered {
		t.Rehearse = Rehearse
	}
	return t, nil
}

// Rehearse is the hook of a target that knows package rehearsal, over gRPC or in process.
func Rehearse(ctx context.Context, f rehearsal.Fault) (context.Context, error) {
	return rehearsal.With(ctx, f), nil
}
