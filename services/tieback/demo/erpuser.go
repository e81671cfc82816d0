package demo

import (
	"context"
	"crypto/rand"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/connector"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// erpUser books and deletes records in the ERP that Procore does not know. It uses the connector, so it works with any ERP.
type erpUser struct {
	driver  connector.Driver
	company int64
}

// Add books a record that has no Procore id.
func (h erpUser) Add(ctx context.Context, r *tiebackv1.Record) (*tiebackv1.Record, error) {
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

// Delete removes a record.
func (h erpUser) Delete(ctx context.Context, entity tiebackv1.Entity, originID string) error {
	_, err := h.driver.Remove(ctx, &tiebackv1.RemoveRequest{CompanyId: h.company, Entity: entity, OriginId: originID, Key: "by-hand/" + rand.Text()})
	return err
}
