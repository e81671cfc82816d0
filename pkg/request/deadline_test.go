package request

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func TestDue(t *testing.T) {
	deadlines := Deadlines{Interactive: 15 * time.Minute, Sync: 2 * time.Hour}
	event := func(payload string) []byte {
		data, err := proto.Marshal(&tiebackv1.Event{Payload: []byte(payload)})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	named, unnamed := event(`{"request_data":{"request_detail_id":"5"}}`), event(`{"request_data":{}}`)
	of := func(k bus.Kind, eventType string) bus.Subject { return bus.For(k, eventType, 7, 12) }
	for name, c := range map[string]struct {
		subject   bus.Subject
		data      []byte
		deadlines Deadlines
		want      time.Duration // 0: never
	}{
		"an export":                  {of(bus.Event, "create_vendor"), named, deadlines, 15 * time.Minute},
		"a sync":                     {of(bus.Event, "sync_vendors"), named, deadlines, 2 * time.Hour},
		"an export without a detail": {of(bus.Event, "create_vendor"), unnamed, deadlines, 0},
		"a sync without a detail":    {of(bus.Event, "sync_vendors"), unnamed, deadlines, 0},
		"a malformed event":          {of(bus.Event, "create_vendor"), []byte{0xff}, deadlines, 15 * time.Minute},
		"a delivery":                 {of(bus.Delivery, ""), nil, deadlines, 15 * time.Minute},
		"a sync's outcome":           {of(bus.Outcome, "sync_vendors"), nil, deadlines, 15 * time.Minute},
		"an unknown subject":         {bus.Subject{}, []byte{0xff}, deadlines, 15 * time.Minute},
		"without deadlines":          {of(bus.Event, "create_vendor"), named, Deadlines{}, 0},
	} {
		m := bus.Message{Subject: c.subject, Data: c.data, Stored: now, Stream: bus.Event.Stream()}
		due, ok := c.deadlines.Due(m)
		if ok != (c.want > 0) || ok && !due.Equal(now.Add(c.want)) {
			t.Errorf("%s is due at %v (%v), want %v after it was stored", name, due, ok, c.want)
		}
		for _, after := range []time.Duration{c.want + 30*time.Second, c.want + 90*time.Second} {
			if got := c.deadlines.Overdue(m, now.Add(after)); got != (c.want > 0 && after > c.want+grace) {
				t.Errorf("%s is overdue %v after it was stored: %v", name, after, got)
			}
		}
	}
}
