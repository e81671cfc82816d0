package trace

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/procore/erplog"
	"github.com/tieback/tieback/services/audit"
)

// judge says what the story comes to: its class is what an audit would say, and the verdict says it
// in a sentence.
func (r *reading) judge(details []erplog.Detail, now time.Time) {
	found := audit.Judge(r.trace, details, now, r.Limits, r.Ours)
	r.why = found.Why
	r.Class, r.Accounted = found.Class, found.Class.Accounted()
	var parts []string
	switch {
	case len(r.Steps) == 0:
		parts = append(parts, r.absent())
	case r.Now != nil && found.Class != audit.Mismatch:
		parts = append(parts, r.atWork(now))
		if found.Class == audit.Overdue {
			parts = append(parts, "it is past its deadline: see that the status-reporter runs")
		}
	default:
		parts = append(parts, r.ended())
	}
	if found.Class == audit.Mismatch {
		parts = append(parts, fmt.Sprintf("but Procore shows request details %v open: see tieback audit --help", found.Open))
	}
	if found.Class == audit.Lost {
		parts = append(parts, found.Why)
	}
	if l := r.openLetter(); l != nil {
		parts = append(parts, fmt.Sprintf("dead letter %d (%s, %s) waits for somebody: tieback dead show %d", l.ID, l.Stop, l.Cause, l.ID))
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
	case r.Class == audit.Older, r.Class == audit.CalledOff, r.Class == audit.Unknown:
		return "it is not worked, and our streams hold nothing of it: " + r.why
	case r.Class == audit.Elsewhere:
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
	case p.Handed == LetGo:
		fmt.Fprintf(&b, "was let go by %s, which wrote down no end: see its log", p.Stop)
		return b.String()
	case p.Failure != nil:
		fmt.Fprintf(&b, "waiting for %s %s at %s", waitsFor(p.Failure), since, p.Stop)
	case p.Handed == Queued:
		fmt.Fprintf(&b, "in the queue of %s %s, not begun", p.Stop, since)
	case p.Handed == NoStop:
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

// ended says how the last run ended that did.
func (r *reading) ended() string {
	last := r.lastClosed()
	if last == nil {
		return r.givenUp()
	}
	text := "closed as " + statusOf(last.Told)
	switch {
	case last.Told.Left == bus.LeftOlder:
		text = "left alone, as it is older than the company's since; nothing was done in the ERP, and Procore was told nothing,"
	case last.Told.Left != "":
		text = fmt.Sprintf("not booked, as its request detail had become %q in Procore before it was; Procore was told nothing,", last.Told.Left)
	case len(last.Told.CloseOuts) == 0:
		text = "done, with nothing to close"
	case last.Told.Expired:
		text += " because its deadline passed,"
	}
	text += r.afterClick(last.At)
	if last.Run != "" {
		text = runName(last.Run) + " was " + text
	}
	for _, c := range last.Told.CloseOuts {
		if c.Stands != "" && c.Stands != c.Status {
			text += fmt.Sprintf("; Procore keeps request detail %d at %s", c.Detail, c.Stands)
		}
	}
	return text
}

func (r *reading) afterClick(at time.Time) string {
	if r.Clicked == nil {
		return " at " + at.Format(time.RFC3339)
	}
	return fmt.Sprintf(" %s after the click", TookFromClick(at.Sub(*r.Clicked)))
}

func (r *reading) givenUp() string {
	i := slices.IndexFunc(r.Steps, func(s Step) bool { return s.Letter != nil })
	if i < 0 {
		return "nothing here says how it ended"
	}
	l := r.Steps[i].Letter
	text := fmt.Sprintf("given up by %s (%s) after %s, and Procore was not told: its button is still busy, which the sweep ends", l.Stop, l.Cause, count(int(l.Attempts), "attempt"))
	if d := r.dealt(l.ID); d != nil {
		text += fmt.Sprintf("; dead letter %d was %s by %s", l.ID, d.Action, d.Who)
	}
	return text
}

func (r *reading) lastClosed() *Step {
	for i := len(r.Steps) - 1; i >= 0; i-- {
		if s := &r.Steps[i]; s.Kind == string(bus.Closed) && s.Told != nil {
			return s
		}
	}
	return nil
}

// openLetter is the newest dead letter that nobody has dealt with.
func (r *reading) openLetter() *Letter {
	for i := len(r.Steps) - 1; i >= 0; i-- {
		if l := r.Steps[i].Letter; l != nil && r.dealt(l.ID) == nil {
			return l
		}
	}
	return nil
}

func (r *reading) dealt(letter uint64) *Dealing {
	for _, s := range r.Steps {
		if s.Dealing != nil && s.Dealing.Letter == letter {
			return s.Dealing
		}
	}
	return nil
}

// statusOf is failed where any close-out is.
func statusOf(t *Told) string {
	failed := 0
	for _, c := range t.CloseOuts {
		if c.Status == "failed" {
			failed++
		}
	}
	switch failed {
	case 0:
		return "success"
	case len(t.CloseOuts):
		return "failed"
	}
	return fmt.Sprintf("failed in %d of %d parts", failed, len(t.CloseOuts))
}

// runName says what a run is; see bus.Subject.
func runName(run string) string {
	letter, _, _ := strings.Cut(run, "-")
	switch {
	case run == bus.Swept:
		return "what its end had left open"
	case strings.HasSuffix(run, "late"):
		return "what was done after its deadline"
	}
	return fmt.Sprintf("run %s, the replay of dead letter %s,", run, letter)
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

// TookFromClick is a duration since the click, whose time has whole seconds: up to one of them may not have passed.
func TookFromClick(d time.Duration) string {
	switch d = d.Truncate(time.Second); {
	case d < time.Second:
		return "less than 1 s"
	case d < time.Minute:
		return fmt.Sprintf("about %d s", d/time.Second)
	}
	return "about " + d.String()
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
