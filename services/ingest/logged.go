package ingest

import (
	"errors"

	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Logged reads an event of Procore's own log of deliveries, which has the shape of a delivery;
// nil: it is about something else than a new ERP request.
func Logged(event []byte) (*tiebackv1.Delivery, error) {
	d, err := Parse(event)
	if errors.Is(err, errOther) {
		return nil, nil
	}
	return d, err
}
