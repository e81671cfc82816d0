package trace

import (
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// A year after 9999 can't be written as JSON. One message with such a time made the whole trace fail.
func TestTimeOutOfRangeDoesNotHideTrace(t *testing.T) {
	never := &timestamppb.Timestamp{Seconds: 1e12}
	messages := []bus.Message{
		message(t, 1, 1, bus.Delivery, "", &tiebackv1.Delivery{CompanyId: 7, ErpRequestId: 12, OccurredAt: never, ReceivedAt: never}),
		message(t, 2, 1, bus.Event, "", &tiebackv1.Event{CompanyId: 7, ErpRequestId: 12, Type: "create_vendor", RequestedAt: never}),
	}
	r := newReader(Options{Request: 12})
	r.read(messages, 0)
	if _, err := protojson.Marshal(r.Timeline); err != nil || r.Timeline.Request.Created != nil || len(r.Steps) != 2 {
		t.Errorf("%v; clicked at %v, %d steps", err, r.Timeline.Request.Created, len(r.Steps))
	}
}
