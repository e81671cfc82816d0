package bulk

import (
	"context"

	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
)

// List reads all records that match req and are not deleted.
func List(ctx context.Context, t *worker.Task, req *tiebackv1.ListRequest) ([]*Record, error) {
	req.Limit = procore.MaxUpdates
	var all []*Record
	for page, err := range t.ERP.Changes(ctx, req) {
		if err != nil {
			return nil, err
		}
		for _, c := range page.Changes {
			if !c.Deleted {
				all = append(all, c.Record)
			}
		}
	}
	return all, nil
}

// Listable returns the entities that the ERP can list.
func Listable(ctx context.Context, t *worker.Task) (map[tiebackv1.Entity]bool, error) {
	caps, err := t.ERP.Capabilities(ctx)
	if err != nil {
		return nil, err
	}
	can := map[tiebackv1.Entity]bool{}
	for _, e := range caps.Entities {
		can[e.Entity] = e.List
	}
	return can, nil
}
