package payload

import (
	"strings"
	"time"
)

// instants are the layouts of points in time that Procore, a Rails application, prints.
var instants = []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05 UTC"}

// wallClocks are layouts without a zone: the date is used as written.
var wallClocks = []string{time.DateOnly, "2006-01-02T15:04:05", time.DateTime}

// date reads the first of the fields that has a date, as YYYY-MM-DD, or "" if none has one. The date of a
// point in time is the date in the company's time zone. The Unix epoch means that there is no date.
func (r *reader) date(o Object, names ...string) string {
	for _, name := range names {
		s := o.Text(name)
		if s == "" {
			continue
		}
		day, ok := r.day(name, s)
		if !ok {
			r.malformed("the %s %.60q is not a date", words(name), s)
			return ""
		}
		if day != "" {
			return day
		}
	}
	return ""
}

// day reads a date or a point in time. It returns "" for the Unix epoch.
func (r *reader) day(name, s string) (day string, ok bool) {
	for _, layout := range wallClocks {
		if t, err := time.Parse(layout, s); err == nil {
			return since1970(t, t), true
		}
	}
	for _, layout := range instants {
		if t, err := time.Parse(layout, s); err == nil {
			return since1970(t, r.local(name, t)), true
		}
	}
	return "", false
}

// local returns a point in time in the company's time zone. Procore prints some fields that are published as
// dates as midnight (payment_due_date: 2025-06-30T00:00:00Z). Those are dates, and keep the day as written.
func (r *reader) local(name string, t time.Time) time.Time {
	if hour, minute, second := t.Clock(); hour+minute+second == 0 && isDate(name) {
		return t
	}
	return t.In(r.zone)
}

// isDate reports whether a field is published as a date, not as a point in time.
func isDate(name string) bool {
	return strings.HasSuffix(name, "_date") || name == "period_start" || name == "period_end"
}

func since1970(t, local time.Time) string {
	if t.Unix() == 0 {
		return ""
	}
	return local.Format(time.DateOnly)
}
