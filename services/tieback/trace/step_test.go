package trace

import (
	"encoding/json"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// A year beyond 9999 can't be written as JSON, and one such message hid the whole story.
func TestATimeThatNobodyCanWriteHidesNoStory(t *testing.T) {
	never := &timestamppb.Timestamp{Seconds: 1e12}
	messages := []bus.Message{
		said(t, 1, 1, bus.Delivery, "", &tiebackv1.Delivery{CompanyId: 7, ErpRequestId: 12, OccurredAt: never, ReceivedAt: never}),
		said(t, 2, 1, bus.Event, "", &tiebackv1.Event{CompanyId: 7, ErpRequestId: 12, Type: "create_vendor", RequestedAt: never}),
	}
	r := &reading{Options: Options{Request: 12}}
	r.tell(messages, 0)
	if _, err := json.Marshal(r.Story); err != nil || r.Clicked != nil || len(r.Steps) != 2 {
		t.Errorf("%v; clicked at %v, %d steps", err, r.Clicked, len(r.Steps))
	}
}
