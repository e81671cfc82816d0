package ingest

import (
	"cmp"
	"errors"
	"time"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Logged reads an event of Procore's own log of deliveries, which has the shape of a delivery;
// nil: it is about something else than a new ERP request.
// It is what Parse makes of the delivery itself, so that a request has the same time on both ways.
func Logged(event []byte) (*tiebackv1.Delivery, error) {
	d, err := Parse(event)
	if errors.Is(err, errOther) {
		return nil, nil
	}
	return d, err
}

// Occurred is when Procore created a delivery's event, or where that is not known, when it came here.
func Occurred(d *tiebackv1.Delivery) time.Time { return cmp.Or(d.OccurredAt, d.ReceivedAt).AsTime() }
