package demo

import (
	"context"
	"crypto/rand"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// hands are the ERP's own people, who book and delete there what Procore knows nothing of.
// They work through the connector, so that they can work in any ERP.
type hands struct {
	driver  connector.Driver
	company int64
}

// Add books a record that has no Procore id.
func (h hands) Add(ctx context.Context, r *tiebackv1.Record) (*tiebackv1.Record, error) {
	answer, err := h.driver.Put(ctx, &tiebackv1.PutRequest{CompanyId: h.company, Key: "by-hand/" + rand.Text(), Record: r})
	if err != nil {
		return nil, err
	}
	b := answer.GetBooking()
	if len(b.GetLineOriginIds()) != len(r.Lines) {
		return nil, fmt.Errorf("the connector booked %s with %d of %d lines", connector.Describe(r), len(b.GetLineOriginIds()), len(r.Lines))
	}
	out := proto.CloneOf(r)
	out.OriginId = b.GetOriginId()
	for i, l := range out.Lines {
		l.OriginId = b.LineOriginIds[i]
	}
	return out, nil
}

// Delete takes a record out of the ERP.
func (h hands) Delete(ctx context.Context, entity tiebackv1.Entity, originID string) error {
	_, err := h.driver.Remove(ctx, &tiebackv1.RemoveRequest{CompanyId: h.company, Entity: entity, OriginId: originID, Key: "by-hand/" + rand.Text()})
	return err
}
