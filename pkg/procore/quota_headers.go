package procore

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// rates are the headers of an answer that concern the rate limits.
type rates struct {
	limit, left int           // of the window that the answer shows; limit 0: it shows none
	reset       int64         // when the window ends, in seconds of Procore's clock
	away        time.Duration // from the answer to the reset
	ends        time.Time     // by the local clock, at the latest
	retryAfter  time.Duration // negative: not given
}

const (
	// maxCalls is the largest limit that is counted, so that counters do not overflow.
	maxCalls = 1_000_000_000
	// maxSeconds is the latest time in seconds that is accepted, the year 9999, so that durations do not overflow.
	maxSeconds = 253_402_300_799
)

// parseRates parses the headers of an answer that arrived at a local time. The Date of the answer tells Procore's clock, which may
// differ from the local one. Both it and the reset may be truncated to the second, so the window may end a second later than
// they say. Headers that are missing or inconsistent show no window.
func parseRates(header http.Header, now time.Time) rates {
	h := rates{retryAfter: -1}
	date := now.Unix()
	if t, ok := moment(header.Get("Date")); ok {
		date = t
	}
	if seconds, ok := count(header, "Retry-After"); ok {
		h.retryAfter = time.Duration(min(seconds, 7200)) * time.Second
	} else if until, ok := moment(header.Get("Retry-After")); ok {
		h.retryAfter = time.Duration(min(max(until-date, 0), 7200)) * time.Second
	}
	h.retryAfter = min(h.retryAfter, longestWait)
	limit, ok1 := count(header, "X-Rate-Limit-Limit")
	left, ok2 := count(header, "X-Rate-Limit-Remaining")
	reset, ok3 := count(header, "X-Rate-Limit-Reset")
	if !ok1 || !ok2 || !ok3 || limit == 0 || reset > maxSeconds {
		return h
	}
	away := min(max(reset-date, -3600), 7200) // longer ones are refused
	h.away = time.Duration(away) * time.Second
	if h.away > longestWait || h.away < -time.Minute {
		return h
	}
	h.limit = int(min(limit, maxCalls))
	h.left = int(min(left, int64(h.limit)))
	h.reset, h.ends = reset, now.Add(h.away+time.Second)
	return h
}

// count parses a header with a non-negative integer.
func count(h http.Header, name string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(h.Get(name)), 10, 64)
	return n, err == nil && n >= 0
}

// moment parses a date of HTTP to seconds since 1970.
func moment(text string) (int64, bool) {
	t, err := http.ParseTime(text)
	return t.Unix(), err == nil && t.Unix() > 0 && t.Unix() <= maxSeconds
}
