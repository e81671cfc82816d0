package request

import (
	"testing"
	"time"
)

// No message can be stored after endOfTime, at which Read stops.
func TestEndOfTimeIsAfterAllMessages(t *testing.T) {
	if last := time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC); !endOfTime.After(last) { // the last time that RFC 3339 can represent
		t.Errorf("endOfTime is %v, want a time after %v", endOfTime, last)
	}
}
