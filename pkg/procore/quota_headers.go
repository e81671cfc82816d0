package procore

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	hour  = int64(time.Hour / time.Millisecond)
	spike = int64(10 * time.Second / time.Millisecond)
	// longestWait is the longest wait: the window of an hour, and a minute.
	longestWait = hour + 60_000
	// maxCalls is the largest limit that is counted, so that counters do not overflow.
	maxCalls = 1_000_000_000
)

// rateHeaders is the state of one window in the headers of an answer. Times are in ms of Procore's clock.
type rateHeaders struct {
	limit, left int
	reset       int64
	away        int64 // from the answer to the reset
}

// rates parses the three headers of a window. now is the estimated time of Procore's clock, used if the answer has no Date. It
// returns false if the headers are missing or inconsistent.
func rates(h http.Header, now int64) (t rateHeaders, ok bool) {
	limit, ok1 := count(h, "X-Rate-Limit-Limit")
	left, ok2 := count(h, "X-Rate-Limit-Remaining")
	reset, ok3 := count(h, "X-Rate-Limit-Reset")
	if !ok1 || !ok2 || !ok3 || limit == 0 || reset > maxSeconds {
		return rateHeaders{}, false
	}
	if date, known := dateOf(h); known {
		now = date
	}
	t = rateHeaders{limit: int(min(limit, maxCalls)), reset: reset * 1000}
	t.left = int(min(left, int64(t.limit)))
	t.away = t.reset - now
	return t, t.away <= longestWait && t.away >= -60_000
}

// maxSeconds is the latest time in seconds that is accepted, the year 9999, so that it does not overflow in milliseconds.
const maxSeconds = 253_402_300_799

// count parses a header with a non-negative integer.
func count(h http.Header, name string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(h.Get(name)), 10, 64)
	return n, err == nil && n >= 0
}

// dateOf returns the Date of an answer, by Procore's clock, in ms, truncated to the second.
func dateOf(h http.Header) (int64, bool) {
	return moment(h.Get("Date"))
}

func moment(text string) (int64, bool) {
	t, err := http.ParseTime(text)
	if err != nil || t.Unix() <= 0 || t.Unix() > maxSeconds {
		return 0, false
	}
	return t.UnixMilli(), true
}

// retryAfter returns the Retry-After of an answer, in seconds or as a date, as a bounded wait in ms.
func retryAfter(h http.Header, now int64) (int64, bool) {
	wait, ok := count(h, "Retry-After")
	if ok {
		return min(wait, longestWait/1000) * 1000, true
	}
	until, ok := moment(h.Get("Retry-After"))
	if !ok {
		return 0, false
	}
	if date, known := dateOf(h); known {
		now = date
	}
	return min(max(until-now, 0), longestWait), true
}
