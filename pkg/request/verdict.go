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

// Class is the state of a request. It follows from the messages in the streams and the request details in Procore. "since" is
// the company's setting. The first row that applies counts:
//
//	the streams                      the request details                class
//	at a stage, before its deadline  any                                in-progress
//	at a stage, past its deadline    any                                overdue
//	nothing                          created before "since"             older
//	nothing                          none open, one of unknown status   unknown
//	nothing                          none open, one rejected or stale   called-off
//	nothing                          all final                          elsewhere
//	nothing                          one open, or none at all           missed
//	skipped as older                 any                                older
//	skipped for another reason       none open                          called-off, unknown
//	closed, the dead letter is gone  any                                lost
//	closed as success                one rejected, stale or unknown     mismatch
//	closed                           none open                          success, failed
//	closed, with a dead letter       none open                          dead; recovered if its last end is a success
//	discarded dead letter            none open                          discarded
//	dead letter                      no report closed an open one       unclosed
//	closed or skipped                one open                           mismatch
type Class string

// The classes. Meaning explains them.
const (
	Success    Class = "success"
	Failed     Class = "failed"
	Dead       Class = "dead"
	Recovered  Class = "recovered"
	Discarded  Class = "discarded"
	InProgress Class = "in-progress"
	Elsewhere  Class = "elsewhere"
	Older      Class = "older"
	CalledOff  Class = "called-off"
	Overdue    Class = "overdue"
	Unknown    Class = "unknown"
	Unclosed   Class = "unclosed"
	Mismatch   Class = "mismatch"
	Missed     Class = "missed"
	Lost       Class = "lost"
)

// Classes are all classes, in the order in which commands list them.
var Classes = []Class{Success, Failed, Dead, Recovered, Discarded, InProgress, Elsewhere, Older, CalledOff, Overdue, Unknown, Unclosed, Mismatch, Missed, Lost}

var meanings = map[Class]string{
	Success:    "closed as success",
	Failed:     "closed as failed, with the reason",
	Dead:       "dead-lettered, and closed as failed if it has a request detail",
	Recovered:  "dead-lettered, and successful since: by a replay, or after its deadline",
	Discarded:  "dead-lettered, and discarded by a person with a reason",
	InProgress: "in progress, within its deadline",
	Elsewhere:  "closed in Procore, and not in the streams",
	Older:      "created before the company's setting \"since\", and not processed",
	CalledOff:  "called off in Procore (rejected or stale), and not processed",
	Overdue:    "in progress, past its deadline",
	Unknown:    "of a status in Procore that this version does not know, and not processed",
	Unclosed:   "dead-lettered, and not closed in Procore",
	Mismatch:   "closed by the pipeline, and open or called off in Procore",
	Missed:     "in Procore, and never arrived",
	Lost:       "dead-lettered, and the dead letter is lost",
}

// Meaning explains the class in a few words, for operators.
func (c Class) Meaning() string { return meanings[c] }

// NeedsAction reports whether a person has to do something about a request of the class.
func (c Class) NeedsAction() bool {
	return slices.Contains([]Class{Overdue, Unknown, Unclosed, Mismatch, Missed, Lost}, c)
}

// Rules are the settings that the class of a company's requests depends on.
type Rules struct {
	Deadlines Deadlines
	Company   *company.Company // its Since excludes older requests; nil: no request is excluded
}

// ProcoreLists are the entries of Procore's lists for a request. The zero value means that the lists were not read, or have no
// entry for the request.
type ProcoreLists struct {
	Details         []procore.Detail
	DeliveryOutcome string    // the outcome of its delivery in Procore's log; "": the log has no delivery
	DeliveryTime    time.Time // when Procore created the event of that delivery
}

// Verdict is the state of a request.
type Verdict struct {
	Class Class
	At    Stage     // the current stage; zero: the request is at no stage
	Due   time.Time // the deadline of the current stage; zero: there is no deadline
	Open  []int64   // request details that Procore shows open
	Why   string    // the reason that accountants see, the dead letter, and differences from Procore; "": none
	// EndText says how the request ended, in one sentence without a full stop; "": it is in progress, or never arrived.
	EndText string
}

// Verdict returns the state of a request at a time, from the streams and Procore's lists. t may be nil if the streams have no
// message of the request.
func (t *Timeline) Verdict(r Rules, p ProcoreLists, now time.Time) Verdict {
	var v Verdict
	for _, d := range p.Details {
		if d.Open() {
			v.Open = append(v.Open, d.ID)
		}
	}
	if t == nil || t.Empty() {
		v.absent(r, p, t.CreatedAt(p))
		return v
	}
	last := t.Last()
	v.At = t.Stage()
	switch {
	case v.At.Name != "":
		v.inProgress(r.Deadlines, t, now)
		return v
	case last != nil && last.SkipReason != "" && (last.SkipReason == bus.SkippedOlder || len(v.Open) == 0):
		v.skipped(r, p, last)
	case t.lostDeadLetter(now):
		v.Class, v.Why = Lost, "it was dead-lettered, and the stream has lost the dead letter: "+
			"compare the record in Procore with the ERP, and repeat the request in Procore if the ERP does not have it"
	case last != nil && (len(v.Open) == 0 || last.At.After(now)): // After: the report is newer than Procore's lists
		v.closed(t, last)
		v.addCalledOffOrUnknown(p)
	case len(t.DeadLetters) > 0 && !t.Closes(v.Open...):
		v.deadLettered(t)
	default:
		v.Class, v.Why = Mismatch, "the pipeline closed it, and Procore shows it open"
	}
	v.EndText = t.endText()
	return v
}

// CreatedAt returns when Procore created the request, from the best source: the streams, its request details, or the delivery
// in Procore's log. It is zero if no source has the time. t may be nil.
func (t *Timeline) CreatedAt(p ProcoreLists) time.Time {
	switch {
	case t != nil && !t.Created.IsZero():
		return t.Created
	case len(p.Details) > 0:
		return p.Details[0].Created
	}
	return p.DeliveryTime
}

// absent sets the class of a request that is not in the streams.
func (v *Verdict) absent(r Rules, p ProcoreLists, created time.Time) {
	unknown := slices.ContainsFunc(p.Details, func(d procore.Detail) bool { return !d.Open() && !d.Ended() && !d.CalledOff() })
	switch {
	case !r.Company.InScope(created):
		v.Class, v.Why = Older, r.older()
	case len(v.Open) == 0 && unknown:
		v.Class, v.Why = Unknown, p.calledOffOrUnknown()
	case len(v.Open) == 0 && slices.ContainsFunc(p.Details, procore.Detail.CalledOff):
		v.Class, v.Why = CalledOff, p.calledOffOrUnknown()
	case len(p.Details) > 0 && len(v.Open) == 0:
		v.Class, v.Why = Elsewhere, "it is closed in Procore, and not in the streams"
	case p.DeliveryOutcome != "":
		v.Class, v.Why = Missed, fmt.Sprintf("it never arrived (Procore's delivery: %s); the next sweep fetches it", p.DeliveryOutcome)
	default:
		v.Class, v.Why = Missed, "it never arrived; the next sweep fetches it"
	}
}

// inProgress sets the class and the deadline of a request that is at a stage.
func (v *Verdict) inProgress(d Deadlines, t *Timeline, now time.Time) {
	v.Class = InProgress
	category := bus.For(v.At.Kind, t.Type, 0, 0).Category
	if due, ok := d.due(v.At.Kind, category, v.At.Position.At, v.At.userWaits); ok {
		v.Due = due
	}
	if overdue(v.Due, now) {
		v.Class, v.Why = Overdue, fmt.Sprintf("not finished within %v", v.Due.Sub(v.At.Position.At))
	}
}

// lostDeadLetter reports whether the request was closed as dead-lettered, but has no dead letter. It allows a
// minute: the dead letter of an expired event may be published after the report.
func (t *Timeline) lostDeadLetter(now time.Time) bool {
	return len(t.DeadLetters) == 0 && slices.ContainsFunc(t.Reports, func(r Report) bool { return r.DeadLettered && now.Sub(r.At) > grace })
}

// skipped sets the class of a request that was not processed.
func (v *Verdict) skipped(r Rules, p ProcoreLists, last *Report) {
	switch d := (procore.Detail{Status: last.SkipReason}); {
	case last.SkipReason == bus.SkippedOlder:
		v.Class, v.Why = Older, r.older()
	case d.CalledOff():
		v.Class, v.Why = CalledOff, cmp.Or(p.calledOffOrUnknown(), "it became "+last.SkipReason+" in Procore before it was processed")
	default:
		v.Class, v.Why = Unknown, cmp.Or(p.calledOffOrUnknown(), fmt.Sprintf("it had the status %.40q in Procore, which this version does not know", last.SkipReason))
	}
}

func (r Rules) older() string {
	if r.Company == nil {
		return OlderText(time.Time{})
	}
	return OlderText(r.Company.Since)
}

// OlderText says why a request of the class Older is not processed. since is the company's setting "since". It is zero if the
// setting is not known, or was removed from the companies file after the request arrived.
func OlderText(since time.Time) string {
	if since.IsZero() {
		return `Procore created it before the time in the company's setting "since"`
	}
	return fmt.Sprintf("Procore created it before %s, the company's setting \"since\"", since.UTC().Format(time.RFC3339))
}

// calledOffOrUnknown describes the request details that were called off or have an unknown status: those that are neither open
// nor ended. "": there are no such details.
func (p ProcoreLists) calledOffOrUnknown() string {
	var all []string
	for _, d := range p.Details {
		if !d.Open() && !d.Ended() {
			all = append(all, d.StatusText())
		}
	}
	return strings.Join(all, "; ")
}

// addCalledOffOrUnknown adds the request details that were called off or have an unknown status to the verdict of a closed request.
func (v *Verdict) addCalledOffOrUnknown(p ProcoreLists) {
	details := p.calledOffOrUnknown()
	switch {
	case details == "":
	case v.Class == Success || v.Class == Recovered:
		v.Class, v.Why = Mismatch, "the pipeline has processed it, and "+details
	default:
		v.Why = strings.TrimPrefix(v.Why+"; "+details, "; ")
	}
}

// closed sets the class of a reported request. The last close-out of each request detail decides.
func (v *Verdict) closed(t *Timeline, last *Report) {
	var reasons, kept []string
	failed := false
	for _, c := range t.lastCloseOuts() {
		if c.Status == tiebackv1.Status_STATUS_FAILED {
			failed = true
			reasons = append(reasons, c.Messages...)
		}
		if keptOther(c) {
			kept = append(kept, fmt.Sprintf("Procore keeps request detail %d at %s", c.RequestDetailId, c.KeptStatus))
		}
	}
	switch dead := len(t.DeadLetters) > 0 || last.DeadLettered; {
	case dead && (failed || last.DeadLettered):
		v.Class, reasons = Dead, nil // the dead letter has the reason
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

// keptOther reports whether Procore kept an earlier status of a request detail instead of the reported one.
func keptOther(c *tiebackv1.CloseOut) bool {
	return c.KeptStatus != "" && c.KeptStatus != StatusName(c.Status)
}

// Failed reports whether the accountant sees a failure: a request detail was closed as failed, Procore keeps it as failed, or
// the event is dead-lettered. A request that was not processed has not failed.
func (r Report) Failed() bool {
	return r.SkipReason == "" && (r.DeadLettered || slices.ContainsFunc(r.CloseOuts, func(c *tiebackv1.CloseOut) bool {
		return c.Status == tiebackv1.Status_STATUS_FAILED || c.KeptStatus == "failed"
	}))
}

// lastCloseOuts returns the last close-out of each request detail and, of the last report, also the close-outs without a request
// detail.
func (t *Timeline) lastCloseOuts() []*tiebackv1.CloseOut {
	var all []*tiebackv1.CloseOut
	index := map[int64]int{} // in all, by request detail
	for n, r := range t.Reports {
		for _, c := range r.CloseOuts {
			i, seen := index[c.RequestDetailId]
			switch {
			case c.RequestDetailId == 0 && n < len(t.Reports)-1:
			case c.RequestDetailId != 0 && seen:
				all[i] = c
			default:
				index[c.RequestDetailId] = len(all)
				all = append(all, c)
			}
		}
	}
	return all
}

// deadLettered sets the class of a request that was dead-lettered and not closed.
func (v *Verdict) deadLettered(t *Timeline) {
	v.Class, v.Why = Unclosed, t.deadLetterText()
	if len(v.Open) == 0 && t.NewestDeadLetter().State == StateDiscarded {
		v.Class = Discarded
	}
}

// deadLetterText describes the newest dead letter and its resolution; "": there is none.
func (t *Timeline) deadLetterText() string {
	d := t.NewestDeadLetter()
	if d == nil {
		return ""
	}
	text := fmt.Sprintf("%s (dead letter %d of %s, %s)", cmp.Or(d.UserMessage, d.Error), d.ID, d.Stage, d.Cause())
	if r := d.resolution(); r != nil {
		text += "; it " + ResolutionText(r)
		if d.State == StateInterrupted {
			text += ", and that replay was interrupted"
		}
	}
	return text
}

// endText returns Verdict.EndText: it describes the newest report or, if there is none, the newest dead letter.
func (t *Timeline) endText() string {
	last := t.Last()
	if last == nil {
		return t.notReported()
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
		if keptOther(c) {
			text += fmt.Sprintf("; Procore keeps request detail %d at %s", c.RequestDetailId, c.KeptStatus)
		}
	}
	return text
}

// statusText describes what was reported to Procore, worded to follow "was". endText appends a time, so a text that ends with a
// "because" clause or a parenthesis gets a comma.
func (r Report) statusText() string {
	failed := 0
	for _, c := range r.CloseOuts {
		if c.Status == tiebackv1.Status_STATUS_FAILED {
			failed++
		}
	}
	var text string
	switch {
	case r.SkipReason == bus.SkippedOlder:
		return `not processed, because Procore created it before the company's setting "since" (nothing was done in the ERP, and nothing was reported),`
	case r.SkipReason != "":
		return fmt.Sprintf("not processed, because its request detail had become %q in Procore (nothing was done in the ERP, and nothing was reported),", r.SkipReason)
	case len(r.CloseOuts) == 0:
		return "processed, with nothing to close"
	case failed == len(r.CloseOuts):
		text = "closed as failed"
	case failed > 0:
		text = fmt.Sprintf("closed as failed in %d of %d request details", failed, len(r.CloseOuts))
	default:
		text = "closed as success"
	}
	if r.Expired {
		text += " because its deadline passed,"
	}
	return text
}

// notReported describes a request that was dead-lettered and not reported to Procore.
func (t *Timeline) notReported() string {
	d := t.NewestDeadLetter()
	if d == nil {
		return ""
	}
	attempts := "1 attempt"
	if d.Attempts != 1 {
		attempts = fmt.Sprintf("%d attempts", d.Attempts)
	}
	text := fmt.Sprintf("dead-lettered by %s (%s) after %s, and not reported to Procore yet: the next sweep closes its request details", d.Stage, d.Cause(), attempts)
	if r := d.resolution(); r != nil {
		text += fmt.Sprintf("; dead letter %d was %s by %s", d.ID, ActionName(r.Action), r.Who)
	}
	return text
}

// runText describes a run other than the first; see bus.Subject. endText appends "was".
func runText(run string) string {
	id, _, _ := strings.Cut(run, "-")
	switch {
	case run == bus.Swept:
		return "the request detail that was left open"
	case (bus.Subject{Run: run}).IsLate():
		return "the late outcome"
	}
	return fmt.Sprintf("run %s, the replay of dead letter %s,", run, id)
}

// TookFromClick formats a duration since the click. It is approximate, as Procore gives the time of the click in whole seconds.
func TookFromClick(d time.Duration) string {
	switch d = d.Truncate(time.Second); {
	case d < time.Second:
		return "less than 1 s"
	case d < time.Minute:
		return fmt.Sprintf("about %d s", d/time.Second)
	}
	return "about " + d.String()
}
