package rehearsal

import (
	"context"
	"errors"
	"time"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

const (
	// Wait is the wait that a throttled Edge asks for.
	Wait = 100 * time.Millisecond
	// Delay is the time that a slow ERP takes for a call.
	Delay = 3 * time.Second
)

// Edge simulates faults for a connector that keeps its own books, so that it has no other boundary to its
// ERP. A connector that calls an ERP over a network calls Of there instead, so that the suite sees how it
// handles the ERP's own answers.
func Edge(d connector.Driver) connector.Driver { return edge{d} }

type edge struct{ connector.Driver }

func (e edge) Put(ctx context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	switch Of(ctx) {
	case Throttled:
		return nil, fault.Wait(Wait, errors.New("rehearsal: throttled"))
	case Slow:
		select {
		case <-time.After(Delay):
		case <-ctx.Done():
			return nil, fault.New(fault.Transient, ctx.Err())
		}
	case LostAnswer:
		if _, err := e.Driver.Put(ctx, q); err != nil {
			return nil, err
		}
		return nil, fault.New(fault.Ambiguous, errors.New("rehearsal: the answer was lost"))
	}
	return e.Driver.Put(ctx, q)
}
