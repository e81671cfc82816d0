package request

import (
	"testing"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
)

// An outcome is the result of an event only if it has the event's type. An event of any type is the result of a delivery. An
// outcome is the result of a delivery only if it has no type, like the outcomes of the fetcher.
func TestResultHasTheTypeOfItsMessage(t *testing.T) {
	for _, c := range []struct {
		queue, result           bus.Kind
		messageType, resultType string
		want                    bool
	}{
		{bus.Event, bus.Outcome, "create_vendor", "create_vendor", true},
		{bus.Event, bus.Outcome, "create_vendor", "", false},
		{bus.Event, bus.Outcome, "create_vendor", "sync_vendors", false},
		{bus.Event, bus.Dead, "create_vendor", "sync_vendors", false},
		{bus.Outcome, bus.Closed, "", "sync_vendors", false},
		{bus.Delivery, bus.Event, "", "create_vendor", true},
		{bus.Delivery, bus.Outcome, "", "", true},
		{bus.Delivery, bus.Outcome, "", "create_vendor", false},
	} {
		q := Queue{Durable: topology.Durable{Kind: c.queue}}
		message, result := bus.For(c.queue, c.messageType, 7, 12), bus.For(c.result, c.resultType, 7, 12)
		if got := q.resultKey(result) == q.resultKey(message); got != c.want {
			t.Errorf("%s is a result of %s: %v, want %v", result, message, got, c.want)
		}
	}
}
