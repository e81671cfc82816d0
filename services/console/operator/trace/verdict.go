package trace

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
)

// conclude sets the class, as in an audit, and the verdict in one sentence.
func (r *reader) conclude(now time.Time) {
	class := r.verdict.Class
	r.Timeline.Request.Class, r.AccountedFor = string(class), !class.NeedsAction()
	var parts []string
	switch {
	case len(r.Steps) == 0:
		parts = append(parts, r.absent())
	case r.Current != nil:
		parts = append(parts, r.inProgress(now))
		switch {
		case class == request.Overdue && r.Current.Due != nil:
			parts = append(parts, "it is past its deadline: check that the status-reporter runs")
		case class == request.Overdue:
			parts = append(parts, "it should have been done by now: see the log of "+r.Current.Stage)
		}
	default:
		parts = append(parts, cmp.Or(r.verdict.EndText, "how it ended is not recorded here"))
	}
	if class == request.Mismatch {
		parts = append(parts, fmt.Sprintf("but Procore shows request details %v open", r.verdict.Open))
	}
	if class == request.Lost {
		parts = append(parts, r.verdict.Why)
	}
	if d := r.history.OpenDeadLetter(); d != nil {
		parts = append(parts, fmt.Sprintf("dead letter %d (%s, %s) is unresolved", d.ID, d.Stage, d.Cause()))
	}
	r.Verdict = strings.Join(parts, "; ")
	if len(r.Unread) > 0 {
		r.AccountedFor = false
		r.Verdict = "as far as could be read: " + r.Verdict
	}
}

// absent is the verdict if the streams have nothing of the request.
func (r *reader) absent() string {
	class := r.verdict.Class
	switch p := r.Timeline.Procore; {
	case p == nil:
		return "never arrived here, or is older than the streams' retention: if it was created lately, the next sweep fetches it"
	case !p.Known:
		return "never arrived here, and Procore does not have it either: check the request's id and the company"
	case class == request.Older, class == request.CalledOff, class == request.Unknown:
		return "it is not processed, and the streams have nothing of it: " + r.verdict.Why
	case class == request.Elsewhere:
		return "Procore has it as closed, and the streams have nothing of it: it is older than their retention, or something else closed it"
	}
	return "never arrived here, and Procore has it: the next sweep fetches it"
}

// inProgress describes the current stage.
func (r *reader) inProgress(now time.Time) string {
	p := r.Current
	var b strings.Builder
	if p.Run != "" {
		fmt.Fprintf(&b, "run %s ", p.Run)
	}
	handed := request.DeliveryState(p.DeliveryState)
	since := fmt.Sprintf("since %s (%s)", clock(p.Since.AsTime(), now), Took(now.Sub(p.Since.AsTime())))
	switch {
	case handed == request.Settled:
		fmt.Fprintf(&b, "was acknowledged by %s without a result: see its log", p.Stage)
		return b.String()
	case p.Failure != nil:
		fmt.Fprintf(&b, "waiting for %s %s at %s", waitsFor(p.Failure), since, p.Stage)
	case handed == request.Queued:
		fmt.Fprintf(&b, "in the queue of %s %s, not started", p.Stage, since)
	case handed == request.NoConsumer:
		fmt.Fprintf(&b, "waiting for %s %s, which has never run on this broker", p.Stage, since)
	default:
		fmt.Fprintf(&b, "with %s %s", p.Stage, since)
	}
	if p.Attempts > 0 {
		fmt.Fprintf(&b, ", %s", count(int(p.Attempts), "attempt"))
	}
	if p.NextAttempt != nil {
		fmt.Fprintf(&b, ", next at about %s", clock(p.NextAttempt.AsTime(), now))
	}
	if p.Due != nil {
		fmt.Fprintf(&b, ", deadline %s", clock(p.Due.AsTime(), now))
	}
	return b.String()
}

// waitsFor names what a retry waits for.
func waitsFor(f *operatorv1.Failure) string {
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

// clock formats a time in UTC, with its date unless it is today.
func clock(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly) + " UTC"
	}
	return t.Format(time.DateTime) + " UTC"
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
