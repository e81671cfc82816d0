package request

import (
	"testing"
	"time"
)

// Reading ends at a letter that is later: one of 2039 was never counted, nor any after it.
func TestNoLetterIsLaterThanTheEnd(t *testing.T) {
	if last := time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC); !endOfTime.After(last) { // the last that RFC 3339, as the broker tells times, can write
		t.Errorf("a letter of %v is later than %v", last, endOfTime)
	}
}
