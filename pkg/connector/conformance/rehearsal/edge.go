package rehearsal

import (
	"context"
	"errors"
	"time"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Wait is what an Edge that is throttled asks for.
const Wait = 100 * time.Millisecond

// Edge rehearses for a connector that keeps its books itself, so that there is no other
// edge to its ERP. A connector that calls an ERP over a network asks Of there instead: what
// is to be seen is how it takes the ERP's own answers.
func Edge(d connector.Driver) connector.Driver { return edge{d} }

type edge struct{ connector.Driver }

func (e edge) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	switch Of(ctx) {
	case Throttled:
		return nil, fault.Wait(Wait, errors.New("rehearsal: throttled"))
	case LostAnswer:
		if _, err := e.Driver.Put(ctx, q); err != nil {
			return nil, err
		}
		return nil, fault.New(fault.Ambiguous, errors.New("rehearsal: the answer was lost"))
	}
	return e.Driver.Put(ctx, q)
}
