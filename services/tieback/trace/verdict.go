package trace

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/request"
)

// judge says what the story comes to: its class is what an audit would say, and the verdict says it
// in a sentence.
func (r *reading) judge(now time.Time) {
	r.Class, r.Accounted = r.verdict.Class, r.verdict.Class.Accounted()
	var parts []string
	switch {
	case len(r.Steps) == 0:
		parts = append(parts, r.absent())
	case r.Now != nil:
		parts = append(parts, r.atWork(now))
		switch {
		case r.Class == request.Overdue && r.Now.Deadline != nil:
			parts = append(parts, "it is past its deadline: see that the status-reporter runs")
		case r.Class == request.Overdue:
			parts = append(parts, "it should have been done by now: see the log of "+r.Now.Stop)
		}
	default:
		parts = append(parts, cmp.Or(r.verdict.Ended, "nothing here says how it ended"))
	}
	if r.Class == request.Mismatch {
		parts = append(parts, fmt.Sprintf("but Procore shows request details %v open: see tieback audit --help", r.verdict.Open))
	}
	if r.Class == request.Lost {
		parts = append(parts, r.verdict.Why)
	}
	if d := r.timeline.OpenDeadLetter(); d != nil {
		parts = append(parts, fmt.Sprintf("dead letter %d (%s, %s) waits for somebody: tieback dead show %d", d.ID, d.Stage, d.Cause(), d.ID))
	}
	r.Verdict = strings.Join(parts, "; ")
	if len(r.Unread) > 0 {
		r.Accounted = false
		r.Verdict = "as far as could be read: " + r.Verdict
	}
}

// absent: the streams hold nothing of it.
func (r *reading) absent() string {
	switch p := r.Story.Procore; {
	case p == nil:
		return "never arrived here, or longer ago than the streams remember: if it was clicked lately, run tieback sweep; --ask-procore asks Procore whether it was"
	case !p.Known:
		return "never arrived here, and Procore does not know it either: is it the right number, and the right company?"
	case r.Class == request.Older, r.Class == request.CalledOff, r.Class == request.Unknown:
		return "it is not worked, and our streams hold nothing of it: " + r.verdict.Why
	case r.Class == request.Elsewhere:
		return "Procore has it, closed, and our streams hold nothing of it: it is older than they remember, or something else closed it"
	}
	return "never arrived here, and Procore has it: run tieback sweep, which brings it in"
}

// atWork says what it waits for.
func (r *reading) atWork(now time.Time) string {
	p := r.Now
	var b strings.Builder
	if p.Run != "" {
		fmt.Fprintf(&b, "run %s ", p.Run)
	}
	since := fmt.Sprintf("since %s (%s)", clock(p.Since, now), Took(now.Sub(p.Since)))
	switch {
	case p.Handed == request.Settled:
		fmt.Fprintf(&b, "was let go by %s, which wrote down no end: see its log", p.Stop)
		return b.String()
	case p.Failure != nil:
		fmt.Fprintf(&b, "waiting for %s %s at %s", waitsFor(p.Failure), since, p.Stop)
	case p.Handed == request.Queued:
		fmt.Fprintf(&b, "in the queue of %s %s, not begun", p.Stop, since)
	case p.Handed == request.NoConsumer:
		fmt.Fprintf(&b, "waiting for %s %s, which has never run on this broker", p.Stop, since)
	default:
		fmt.Fprintf(&b, "with %s %s", p.Stop, since)
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

// waitsFor is who could end the wait.
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

// clock is a time of today, or with its day.
func clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// Took is a duration as people say it. Of less than nothing, as clocks differ, it is nothing.
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
