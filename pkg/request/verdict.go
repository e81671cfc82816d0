package request

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Class says how a request ended, or where it is. Accounted says which need nobody.
//
//	our streams                  Procore's details     class
//	at a stage, not overdue      any                   working
//	at a stage, overdue          any                   overdue
//	closed                       final, or none        success, failed
//	closed, with a dead letter   final, or none        dead; recovered if its last end is a success
//	dead letter, discarded       final, or none        discarded
//	nothing                      final                 elsewhere
//	nothing, or left alone       any, before since     older
//	nothing, or left alone       rejected, stale       called-off
//	nothing, or left alone       of unknown status     unknown
//	dead letter, not closed      any                   unclosed
//	closed, with a dead letter   one open, not closed  unclosed
//	closed                       one open              mismatch
//	closed as success            one called off        mismatch
//	nothing                      one open, or none     missed
//	closed, dead letter gone     any                   lost
type Class string

// The classes.
const (
	Success   Class = "success"    // closed as success
	Failed    Class = "failed"     // closed as failed, with the reason
	Dead      Class = "dead"       // dead-lettered, and closed as failed if it has a request detail
	Recovered Class = "recovered"  // dead-lettered, and done since: by a replay, or after its due time
	Discarded Class = "discarded"  // dead-lettered, and a person discarded it with a reason
	Working   Class = "working"    // at a stage, and not overdue
	Elsewhere Class = "elsewhere"  // Procore has it closed, and our streams hold nothing of it
	Older     Class = "older"      // Procore created it before the company's since: it is not ours, and not worked
	CalledOff Class = "called-off" // an approver called it off in Procore, or it became stale: not worked
	Unknown   Class = "unknown"    // a request detail has a status that this version does not know: not worked
	Overdue   Class = "overdue"    // at a stage, past its due time
	Unclosed  Class = "unclosed"   // dead-lettered, and not closed in Procore
	Mismatch  Class = "mismatch"   // closed by us, and open in Procore
	Missed    Class = "missed"     // it never reached us
	Lost      Class = "lost"       // closed as dead-lettered, and there is no such dead letter: its stream has lost it
)

// Classes are all of them, in the order of a report.
var Classes = []Class{Success, Failed, Dead, Recovered, Discarded, Working, Elsewhere, Older, CalledOff, Overdue, Unknown, Unclosed, Mismatch, Missed, Lost}

// Accounted reports whether a request of the class needs nobody.
func (c Class) Accounted() bool {
	return !slices.Contains([]Class{Overdue, Unknown, Unclosed, Mismatch, Missed, Lost}, c)
}

// Rules are what a company's requests are judged by.
type Rules struct {
	Limits  Limits
	Company *company.Company // its Since says which requests are ours; nil: all are
}

// Procore is what Procore's lists say of a request. The zero value: Procore was not asked, or lists nothing.
type Procore struct {
	Details  []procore.Detail
	Logged   string    // outcome of its delivery in Procore's log; "": not logged
	Occurred time.Time // of that delivery
}

// Verdict says where a request stands.
type Verdict struct {
	Class Class
	At    Stage     // that has the request to work; the zero value: none
	Due   time.Time // when that stage should have finished; zero: it has no such time
	Open  []int64   // request details that Procore shows open
	Why   string    // the reason that accountants read, the dead letter, and what differs from Procore; "": none
	Ended string    // how the request ended, in a sentence without its full stop; "": it is at a stage, or never arrived
}

// Verdict judges a request by the streams and by what Procore lists of it, as of now. t may be nil: the streams hold
// nothing.
func (t *Timeline) Verdict(r Rules, p Procore, now time.Time) Verdict {
	var v Verdict
	for _, d := range p.Details {
		if d.Open() {
			v.Open = append(v.Open, d.ID)
		}
	}
	if t == nil || t.Empty() {
		v.absent(r, p, t.CreatedBy(p))
		return v
	}
	last := t.Last()
	v.At = t.Stage()
	switch {
	case v.At.Name != "":
		v.atWork(r.Limits, t, now)
		return v
	case last != nil && last.Left != "" && (last.Left == bus.LeftOlder || len(v.Open) == 0):
		v.left(r, p, last)
	case t.lostDeadLetter(now):
		v.Class, v.Why = Lost, "it was put aside as a dead letter, and the stream of dead letters has none of it: "+
			"compare the record in Procore with the ERP, and have it sent again if the ERP does not have it"
	case last != nil && (len(v.Open) == 0 || last.At.After(now)): // or reported while Procore was read
		v.closed(t, last)
		v.against(p)
	case len(t.DeadLetters) > 0 && !t.Closes(v.Open...):
		v.dead(t)
	default:
		v.Class, v.Why = Mismatch, "the pipeline closed it, and Procore shows it open"
	}
	v.Ended = t.ended()
	return v
}

// CreatedBy returns when Procore created the request, by the best source that is known: its delivery here, its request
// details, or the delivery in Procore's log. It may be called on nil.
func (t *Timeline) CreatedBy(p Procore) time.Time {
	switch {
	case t != nil && !t.Created.IsZero():
		return t.Created
	case len(p.Details) > 0:
		return p.Details[0].Created
	}
	return p.Occurred
}

// absent: our streams hold nothing of it.
func (v *Verdict) absent(r Rules, p Procore, created time.Time) {
	strange := slices.ContainsFunc(p.Details, func(d procore.Detail) bool { return !d.Open() && !d.Ended() && !d.CalledOff() })
	switch {
	case !r.Company.InScope(created):
		v.Class, v.Why = Older, r.older()
	case len(v.Open) == 0 && strange:
		v.Class, v.Why = Unknown, p.calledOff()
	case len(v.Open) == 0 && slices.ContainsFunc(p.Details, procore.Detail.CalledOff):
		v.Class, v.Why = CalledOff, p.calledOff()
	case len(p.Details) > 0 && len(v.Open) == 0:
		v.Class, v.Why = Elsewhere, "Procore has it closed; the pipeline's streams hold nothing of it"
	case p.Logged != "":
		v.Class, v.Why = Missed, fmt.Sprintf("it never arrived (Procore's delivery: %s); the next sweep, or tieback sweep, brings it in", p.Logged)
	default:
		v.Class, v.Why = Missed, "it never arrived; the next sweep, or tieback sweep, brings it in"
	}
}

func (v *Verdict) atWork(l Limits, t *Timeline, now time.Time) {
	v.Class = Working
	category := bus.For(v.At.Kind, t.Type, 0, 0).Category
	if due, ok := l.due(v.At.Kind, category, v.At.Position.At, v.At.awaited); ok {
		v.Due = due
	}
	if overdue(v.Due, now) {
		v.Class, v.Why = Overdue, fmt.Sprintf("not done within %v", v.Due.Sub(v.At.Position.At))
	}
}

// lostDeadLetter reports whether a report names a dead letter, and the streams hold none. That of an expired event may be
// written a moment after what is reported.
func (t *Timeline) lostDeadLetter(now time.Time) bool {
	return len(t.DeadLetters) == 0 && slices.ContainsFunc(t.Reports, func(r Report) bool { return r.DeadLettered && now.Sub(r.At) > slack })
}

// left: the pipeline left it alone.
func (v *Verdict) left(r Rules, p Procore, last *Report) {
	switch d := (procore.Detail{Status: last.Left}); {
	case last.Left == bus.LeftOlder:
		v.Class, v.Why = Older, r.older()
	case d.CalledOff():
		v.Class, v.Why = CalledOff, cmp.Or(p.calledOff(), "it was "+last.Left+" in Procore before it was booked")
	default:
		v.Class, v.Why = Unknown, cmp.Or(p.calledOff(), fmt.Sprintf("it had the status %.40q in Procore, which this version does not know", last.Left))
	}
}

func (r Rules) older() string {
	if r.Company == nil || r.Company.Since.IsZero() {
		return "it was older than the company's since when it came"
	}
	return "it is older than the company's since, " + r.Company.Since.UTC().Format(time.RFC3339)
}

// calledOff says which request details Procore shows as neither open nor ended; "": none.
func (p Procore) calledOff() string {
	var all []string
	for _, d := range p.Details {
		if !d.Open() && !d.Ended() {
			all = append(all, d.StatusText())
		}
	}
	return strings.Join(all, "; ")
}

// against holds what the pipeline has done against what Procore shows of it.
func (v *Verdict) against(p Procore) {
	off := p.calledOff()
	switch {
	case off == "":
	case v.Class == Success || v.Class == Recovered:
		v.Class, v.Why = Mismatch, "the pipeline carried it out, and "+off
	default:
		v.Why = strings.TrimPrefix(v.Why+"; "+off, "; ")
	}
}

// closed judges a request by the last end of each of its request details.
func (v *Verdict) closed(t *Timeline, last *Report) {
	var reasons, kept []string
	failed := false
	for _, c := range t.ends() {
		if c.Status == tiebackv1.Status_STATUS_FAILED {
			failed = true
			reasons = append(reasons, c.Messages...)
		}
		if keeps(c) {
			kept = append(kept, fmt.Sprintf("Procore keeps request detail %d at %s", c.RequestDetailId, c.KeptStatus))
		}
	}
	switch dead := len(t.DeadLetters) > 0 || last.DeadLettered; {
	case dead && (failed || last.DeadLettered):
		v.Class, reasons = Dead, nil
	case dead:
		v.Class = Recovered
	case failed || last.Failed():
		v.Class = Failed
	default:
		v.Class = Success
	}
	if why := t.deadLetterText(); why != "" {
		reasons = append(reasons, why)
	}
	v.Why = strings.Join(slices.Compact(append(reasons, kept...)), "; ")
}

// keeps reports whether Procore keeps another end of a request detail than the one that was reported.
func keeps(c *tiebackv1.CloseOut) bool {
	return c.KeptStatus != "" && c.KeptStatus != StatusName(c.Status)
}

// Failed reports whether an accountant sees a failure: a request detail was closed as failed, or Procore keeps it
// so, or the event is dead-lettered. A request that was left alone has not failed.
func (r Report) Failed() bool {
	return r.Left == "" && (r.DeadLettered || slices.ContainsFunc(r.CloseOuts, func(c *tiebackv1.CloseOut) bool {
		return c.Status == tiebackv1.Status_STATUS_FAILED || c.KeptStatus == "failed"
	}))
}

// ends are the last close-outs of all request details, and of the last report also those without one.
func (t *Timeline) ends() []*tiebackv1.CloseOut {
	var all []*tiebackv1.CloseOut
	at := map[int64]int{}
	for n, r := range t.Reports {
		for _, c := range r.CloseOuts {
			i, again := at[c.RequestDetailId]
			switch {
			case c.RequestDetailId == 0 && n < len(t.Reports)-1:
			case c.RequestDetailId != 0 && again:
				all[i] = c
			default:
				at[c.RequestDetailId] = len(all)
				all = append(all, c)
			}
		}
	}
	return all
}

// dead: it was dead-lettered, and the user was not told.
func (v *Verdict) dead(t *Timeline) {
	v.Class, v.Why = Unclosed, t.deadLetterText()
	if len(v.Open) == 0 && t.NewestDeadLetter().State == StateDiscarded {
		v.Class = Discarded
	}
}

// deadLetterText is the newest dead letter in words, and what was done about it; "": there is none.
func (t *Timeline) deadLetterText() string {
	d := t.NewestDeadLetter()
	if d == nil {
		return ""
	}
	text := fmt.Sprintf("dead letter %d of %s (%s): %s", d.ID, d.Stage, d.Cause(), cmp.Or(d.UserMessage, d.Error))
	if r := d.resolution(); r != nil {
		text += "; it " + ResolutionText(r)
		if d.State == StateInterrupted {
			text += ", and that replay was interrupted"
		}
	}
	return text
}

// ended says how the last run ended that did.
func (t *Timeline) ended() string {
	last := t.Last()
	if last == nil {
		return t.givenUp()
	}
	text := last.statusText()
	if t.Created.IsZero() {
		text += " at " + last.At.UTC().Format(time.RFC3339)
	} else {
		text += fmt.Sprintf(" %s after the click", TookFromClick(last.At.Sub(t.Created)))
	}
	if last.Run != "" {
		text = runText(last.Run) + " was " + text
	}
	for _, c := range last.CloseOuts {
		if keeps(c) {
			text += fmt.Sprintf("; Procore keeps request detail %d at %s", c.RequestDetailId, c.KeptStatus)
		}
	}
	return text
}

// statusText says what Procore was told, to follow "was".
func (r Report) statusText() string {
	failed := 0
	for _, c := range r.CloseOuts {
		if c.Status == tiebackv1.Status_STATUS_FAILED {
			failed++
		}
	}
	text := "closed as success"
	switch {
	case r.Left == bus.LeftOlder:
		return "left alone, as it is older than the company's since; nothing was done in the ERP, and Procore was told nothing,"
	case r.Left != "":
		return fmt.Sprintf("not booked, as its request detail had become %q in Procore before it was; Procore was told nothing,", r.Left)
	case len(r.CloseOuts) == 0:
		return "done, with nothing to close"
	case failed == len(r.CloseOuts):
		text = "closed as failed"
	case failed > 0:
		text = fmt.Sprintf("closed as failed in %d of %d parts", failed, len(r.CloseOuts))
	}
	if r.Expired {
		text += " because its deadline passed,"
	}
	return text
}

// givenUp says that a request was dead-lettered and Procore was not told.
func (t *Timeline) givenUp() string {
	d := t.NewestDeadLetter()
	if d == nil {
		return ""
	}
	attempts := "1 attempt"
	if d.Attempts != 1 {
		attempts = fmt.Sprintf("%d attempts", d.Attempts)
	}
	text := fmt.Sprintf("given up by %s (%s) after %s, and Procore was not told: its button is still busy, which the sweep ends", d.Stage, d.Cause(), attempts)
	if r := d.resolution(); r != nil {
		text += fmt.Sprintf("; dead letter %d was %s by %s", d.ID, ActionName(r.Action), r.Who)
	}
	return text
}

// runText says what a run other than the first is; see bus.Subject.
func runText(run string) string {
	letter, _, _ := strings.Cut(run, "-")
	switch {
	case run == bus.Swept:
		return "what its end had left open"
	case (bus.Subject{Run: run}).IsLate():
		return "what was done after its deadline"
	}
	return fmt.Sprintf("run %s, the replay of dead letter %s,", run, letter)
}

// TookFromClick is a duration since the click in words. Procore tells the click in whole seconds: up to one of them may
// not have passed.
func TookFromClick(d time.Duration) string {
	switch d = d.Truncate(time.Second); {
	case d < time.Second:
		return "less than 1 s"
	case d < time.Minute:
		return fmt.Sprintf("about %d s", d/time.Second)
	}
	return "about " + d.String()
}
