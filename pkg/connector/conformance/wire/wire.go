// Package wire makes a target of the conformance suite for a connector that speaks gRPC.
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

// answerTimeout is how long Target waits for the connector to answer whether it simulates faults.
const answerTimeout = 10 * time.Second

// Target returns the target for the connector that the settings of package remote name. It simulates faults
// if the connector says that it does. The caller sets Restart. Target returns an error if a setting is
// invalid, with its field, or if the connector does not answer.
func Target(ctx context.Context, company int64, settings map[string]string) (conformance.Target, error) {
	t := conformance.Target{
		Company: company,
		Open:    func(ctx context.Context) (connector.Driver, error) { return remote.Open(ctx, company, settings) },
	}
	t.Stream = func(ctx context.Context) (conformance.PutStream, error) { return remote.OpenPutStream(ctx, settings) }
	d, err := t.Open(ctx) // validates the settings
	if err != nil {
		return t, err
	}
	_ = d.Close() // nothing was sent
	asked, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	offered, err := remote.Rehearses(asked, company, settings)
	if err != nil {
		return t, fmt.Errorf("the connector at %s does not answer: %w", settings["address"], err)
	}
	if offered {
		t.Rehearse = Rehearse
	}
	return t, nil
}

// Rehearse is the Rehearse hook for a target that uses package rehearsal, over gRPC or in process.
func Rehearse(ctx context.Context, f rehearsal.Fault) (context.Context, error) {
	return rehearsal.With(ctx, f), nil
}
