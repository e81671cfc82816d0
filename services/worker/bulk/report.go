package bulk

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/worker"
)

// named is the number of records that a message names; the rest are counted.
const named = 10

// Report is the result of an event. The zero value means that there was nothing to do.
type Report struct {
	Noun        string // the records, in the plural; "": records
	Staged      int    // new records, ready to import
	Updated     int    // written directly
	Archived    int    // removed from "Ready to import"
	Refused     []Refusal
	LeftOut     []Refusal // not sent; the next sync tries them again
	Failures    []string  // messages about parts that failed as a whole
	Links       []*tiebackv1.Link
	Assignments []*tiebackv1.Assignment
}

// Failed reports whether the user has to do something.
func (r *Report) Failed() bool { return len(r.Refused)+len(r.Failures) > 0 }

// Optional adds a permanent error of an optional part to the report and returns nil. It returns any other
// error, and the event is retried.
func (r *Report) Optional(err error) error {
	if err == nil || fault.ClassOf(err) != fault.Permanent {
		return err
	}
	r.Failures = append(r.Failures, fault.UserMessage(err, "Part of the request failed: "+err.Error()))
	return nil
}

// CloseOuts returns a close-out for each request detail of the task's payload, all with the same result. If the
// payload names no request detail, it returns a single close-out without a request detail. Links and assignments
// are valid even if the event failed: they are in the first success or, before the failures, in a success of their
// own.
func (r *Report) CloseOuts(t *worker.Task) []*tiebackv1.CloseOut {
	links := slices.SortedFunc(slices.Values(r.Links), func(a, b *tiebackv1.Link) int {
		return cmp.Or(cmp.Compare(a.ItemType, b.ItemType), cmp.Compare(a.ItemId, b.ItemId))
	})
	done := &tiebackv1.CloseOut{Status: tiebackv1.Status_STATUS_SUCCESS, Links: links, Assignments: r.Assignments}
	details := t.Payload.Details
	if len(details) == 0 {
		details = []int64{0}
	}
	var out []*tiebackv1.CloseOut
	status := tiebackv1.Status_STATUS_SUCCESS
	if r.Failed() {
		status = tiebackv1.Status_STATUS_FAILED
		if len(links)+len(r.Assignments) > 0 {
			out = append(out, done)
		}
	}
	for i, id := range details {
		c := &tiebackv1.CloseOut{}
		if i == 0 && !r.Failed() {
			c = done
		}
		c.RequestDetailId, c.Status, c.Messages = id, status, r.Messages()
		out = append(out, c)
	}
	return out
}

// Messages returns the messages to the accountant.
func (r *Report) Messages() []string {
	noun := cmp.Or(r.Noun, "records")
	var out []string
	if n := len(r.Refused); n > 0 {
		others := ""
		if r.Staged+r.Updated > 0 {
			others = " The others were synced."
		}
		out = append(out, fmt.Sprintf("Procore refused %d of %d %s: %s.%s Correct the refused records and sync again.",
			n, n+r.Staged+r.Updated, noun, list(r.Refused), others))
	}
	out = append(out, r.Failures...)
	if n := len(r.LeftOut); n > 0 {
		out = append(out, fmt.Sprintf("%d of the %s could not be synced yet: %s. The next sync tries them again.", n, noun, list(r.LeftOut)))
	}
	if !r.Failed() {
		out = append(out, r.done(noun)...)
	}
	return out
}

func (r *Report) done(noun string) []string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{r.Staged, "ready to import"}, {r.Updated, "synced"}, {r.Archived, "gone from the ERP and no longer offered for import"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	switch {
	case parts != nil:
		return []string{strings.ToUpper(noun[:1]) + noun[1:] + ": " + strings.Join(parts, ", ") + "."}
	case r.Noun != "" && len(r.LeftOut) == 0:
		return []string{"No " + noun + " have changed in the ERP since the last sync."}
	}
	return nil
}

// list names the first refused records: `vendor "Acme": name: is too long; … and 3 more`.
func list(refused []Refusal) string {
	var parts []string
	for _, r := range refused[:min(named, len(refused))] {
		name := "a record that Procore does not name"
		if r.Record != nil {
			name = connector.Describe(r.Record)
		}
		parts = append(parts, name+": "+strings.TrimRight(r.Why, "."))
	}
	if more := len(refused) - len(parts); more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, "; ")
}
