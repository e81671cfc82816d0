package company

import (
	"errors"
	"time"
)

// ParseSince parses the field since of a company: a point in time, to the second. "" is the zero time.
func ParseSince(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, errors.New("must be a date and time with a zone, such as 2026-11-30T08:00:00Z")
	}
	return t.Truncate(time.Second), nil
}

// InScope reports whether Tieback processes an ERP request that Procore created at that time. The second of
// Since is in scope, as the created_at of a request has whole seconds. A request with unknown (zero) time is
// in scope. InScope may be called on nil.
func (c *Company) InScope(created time.Time) bool {
	return c == nil || c.Since.IsZero() || created.IsZero() || !created.Before(c.Since)
}
