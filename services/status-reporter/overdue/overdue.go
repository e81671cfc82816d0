// Package overdue writes the accountants' messages for events that wait, and closes events that miss their deadline.
package overdue

import (
	"context"
	"fmt"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/payload"
	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Expire closes an event that is past its deadline as failed, unless its worker has published an outcome; see
// request.Expire. limit is the time it had. why is the reason why it waited; nil: not known. Times in the message are in
// the company's zone. It reports whether it closed the event.
func Expire(ctx context.Context, b *bus.Bus, m bus.Message, e *tiebackv1.Event, limit time.Duration, why error, zone *time.Location) (bool, error) {
	cause := passed(limit, why, zone, time.Now())
	return request.Expire(ctx, b, m, &tiebackv1.Outcome{
		CompanyId: e.CompanyId, ErpRequestId: e.ErpRequestId, Type: e.Type, RequestedAt: e.RequestedAt,
		CloseOuts: payload.Failed(e.Payload, cause), ProcoreCalls: 1,
	}, cause)
}

// orUnknown returns err, or an error that says that the reason is not known.
func orUnknown(err error) error {
	if err == nil {
		return fmt.Errorf("no attempt has ended; is the worker running?")
	}
	return err
}

// durationText formats a duration for accountants.
func durationText(d time.Duration) string {
	switch {
	case d >= 2*time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%d hours", d/time.Hour)
	case d >= 2*time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	}
	return d.String()
}
