package bus

import (
	"slices"
	"testing"
	"time"
)

// Only a message that still waits for its delay is retried early, and only once: after the delay another process may run its next
// attempt, and a release would have the broker deliver the message a second time beside it.
func TestOnlyWaitingMessagesAreRetriedEarly(t *testing.T) {
	now := time.Now()
	request, other := For(Event, "create_vendor", 7, 1), For(Event, "create_vendor", 7, 2)
	d := &dispatcher{waiting: map[uint64]waiting{}}
	d.keepWaiting(1, waiting{request, "waits", now.Add(time.Minute)})
	d.keepWaiting(2, waiting{request, "delivered to another process", now.Add(-time.Second)})
	d.keepWaiting(3, waiting{other, "another request", now.Add(time.Minute)})
	if got := d.takeWaiting(request, now); !slices.Equal(got, []string{"waits"}) {
		t.Errorf("released %q", got)
	}
	if got := d.takeWaiting(request, now); len(got) > 0 {
		t.Errorf("released again: %q", got)
	}
	if len(d.waiting) != 1 {
		t.Errorf("%d messages are kept, want the other request's", len(d.waiting))
	}
}
