package syncs

import (
	"context"

	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/metadata"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
	"github.com/tieback/tieback/services/worker/bulk"
)

// syncMetadata sends the capabilities of the connected ERP to Procore's ERP tool: the same document as
// tieback setup.
func syncMetadata(ctx context.Context, t *worker.Task) ([]*tiebackv1.CloseOut, error) {
	caps, err := t.ERP.Capabilities(ctx)
	if err != nil {
		return nil, err
	}
	doc, err := metadata.Of(caps, t.Company.MetadataFile)
	if err != nil {
		return nil, fault.New(fault.Permanent, err)
	}
	if _, err := t.Procore.Do(ctx, procore.Call{Route: procore.UpdateMetadata, Body: map[string]any{"metadata": doc}}); err != nil {
		return nil, err
	}
	return (&bulk.Report{}).CloseOuts(t), nil
}
