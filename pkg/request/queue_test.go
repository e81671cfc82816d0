package request

import (
	"testing"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/topology"
)

// Only an outcome of its own type answers an event. An event of any type answers a delivery, and an outcome only if it has no
// type, as the fetcher's.
func TestAnswersHaveTheTypeOfTheirMessage(t *testing.T) {
	for _, c := range []struct {
		queue, answer    bus.Kind
		message, answers string // event types
		want             bool
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
		message, answer := bus.For(c.queue, c.message, 7, 12), bus.For(c.answer, c.answers, 7, 12)
		if got := q.answered(answer) == q.answered(message); got != c.want {
			t.Errorf("%s answers %s: %v, want %v", answer, message, got, c.want)
		}
	}
}
