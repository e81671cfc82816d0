package trace

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/request"
)

// conclude sets the class, as in an audit, and the verdict in one sentence.
func (r *reader) conclude(now time.Time) {
	r.Class, r.Accounted = r.verdict.Class, !r.verdict.Class.NeedsAction()
	var parts []string
	switch {
	case len(r.Steps) == 0:
		parts = append(parts, r.absent())
	case r.Current != nil:
		parts = append(parts, r.inProgress(now))
		switch {
		case r.Class == request.Overdue && r.Current.Deadline != nil:
			parts = append(parts, "it is past its deadline: check that the status-reporter runs")
		case r.Class == request.Overdue:
			parts = append(parts, "it should have been done by now: see the log of "+r.Current.Stage)
		}
	default:
		parts = append(parts, cmp.Or(r.verdict.EndText, "how it ended is not recorded here"))
	}
	if r.Class == request.Mismatch {
		parts = append(parts, fmt.Sprintf("but Procore shows request details %v open: see tieback audit --help", r.verdict.Open))
	}
	if r.Class == request.Lost {
		parts = append(parts, r.verdict.Why)
	}
	if d := r.timeline.OpenDeadLetter(); d != nil {
		parts = append(parts, fmt.Sprintf("dead letter %d (%s, %s) is open: tieback dead show %d", d.ID, d.Stage, d.Cause(), d.ID))
	}
	r.Verdict = strings.Join(parts, "; ")
	if len(r.Unread) > 0 {
		r.Accounted = false
		r.Verdict = "as far as could be read: " + r.Verdict
	}
}

// absent is the verdict if the streams have nothing of the request.
func (r *reader) absent() string {
	switch p := r.Trace.Procore; {
	case p == nil:
		return "never arrived here, or is older than the streams' retention: if it was clicked lately, run tieback sweep; --ask-procore shows whether Procore has it"
	case !p.Known:
		return "never arrived here, and Procore does not have it either: check the request's id and the company"
	case r.Class == request.Older, r.Class == request.CalledOff, r.Class == request.Unknown:
		return "it is not processed, and the streams have nothing of it: " + r.verdict.Why
	case r.Class == request.Elsewhere:
		return "Procore has it as closed, and the streams have nothing of it: it is older than their retention, or something else closed it"
	}
	return "never arrived here, and Procore has it: run tieback sweep, which fetches it"
}

// inProgress describes the current stage.
func (r *reader) inProgress(now time.Time) string {
	p := r.Current
	var b strings.Builder
	if p.Run != "" {
		fmt.Fprintf(&b, "run %s ", p.Run)
	}
	since := fmt.Sprintf("since %s (%s)", clock(p.Since, now), Took(now.Sub(p.Since)))
	switch {
	case p.Handed == request.Settled:
		fmt.Fprintf(&b, "was acknowledged by %s without a result: see its log", p.Stage)
		return b.String()
	case p.Failure != nil:
		fmt.Fprintf(&b, "waiting for %s %s at %s", waitsFor(p.Failure), since, p.Stage)
	case p.Handed == request.Queued:
		fmt.Fprintf(&b, "in the queue of %s %s, not started", p.Stage, since)
	case p.Handed == request.NoConsumer:
		fmt.Fprintf(&b, "waiting for %s %s, which has never run on this broker", p.Stage, since)
	default:
		fmt.Fprintf(&b, "with %s %s", p.Stage, since)
	}
	if p.Attempts != nil {
		fmt.Fprintf(&b, ", %s", count(*p.Attempts, "attempt"))
	}
	if p.Next != nil {
		fmt.Fprintf(&b, ", next at about %s", clock(*p.Next, now))
	}
	if p.Deadline != nil {
		fmt.Fprintf(&b, ", deadline %s", clock(*p.Deadline, now))
	}
	return b.String()
}

// waitsFor names what a retry waits for.
func waitsFor(f *Failure) string {
	switch {
	case f.Class == "throttled":
		return "a rate limit"
	case f.Source == "erp":
		return "the ERP"
	case f.Source == "procore":
		return "Procore"
	}
	return "another attempt"
}

// clock formats a time, with its date unless it is today.
func clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// Took formats a duration for people. A negative duration, as clocks differ, is zero.
func Took(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
