package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore/erplog"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/deadletters"
	"github.com/tieback/tieback/services/deadline"
)

// Class is how a request ended, or where it is. Accounted says which need nobody.
//
//	our streams                  Procore's details     class
//	closed                       final, or none        success, failed
//	closed, with a dead letter   final, or none        dead; recovered where its last end is a success
//	dead letter, discarded       final, or none        discarded
//	not closed, in time          any                   working
//	nothing                      final                 elsewhere
//	nothing, or left alone       any, before since     older
//	nothing, or left alone       rejected, stale       called-off
//	nothing, or left alone       of unknown status     unknown
//	not closed, out of time      any                   overdue
//	dead letter, not closed      any                   unclosed
//	closed, with a dead letter   one open, not told    unclosed
//	closed                       one open              mismatch
//	closed as success            one called off        mismatch
//	nothing                      one open, or none     missed
//	closed, dead letter gone     any                   lost
type Class string

// The classes.
const (
	Success   Class = "success"    // closed as success
	Failed    Class = "failed"     // closed as failed, with the reason
	Dead      Class = "dead"       // dead-lettered, and closed as failed where it has a request detail
	Recovered Class = "recovered"  // dead-lettered, and done since: by a replay, or after its deadline
	Discarded Class = "discarded"  // dead-lettered, and a person discarded it with a reason
	Working   Class = "working"    // at a stop, within its deadline
	Elsewhere Class = "elsewhere"  // Procore has it closed, and our streams hold nothing of it
	Older     Class = "older"      // Procore created it before the company's since: it is not ours, and not worked
	CalledOff Class = "called-off" // an approver called it off in Procore, or it became stale: not worked
	Unknown   Class = "unknown"    // a request detail has a status that this version does not know: not worked
	Overdue   Class = "overdue"    // at a stop, past its deadline
	Unclosed  Class = "unclosed"   // dead-lettered, and not closed in Procore
	Mismatch  Class = "mismatch"   // closed with us, and open in Procore
	Missed    Class = "missed"     // it never reached us
	Lost      Class = "lost"       // closed as dead-lettered, and there is no such dead letter: its stream has lost it
)

// Classes are all of them, in the order of a report.
var Classes = []Class{Success, Failed, Dead, Recovered, Discarded, Working, Elsewhere, Older, CalledOff, Overdue, Unknown, Unclosed, Mismatch, Missed, Lost}

// Accounted says whether a request of the class needs nobody.
func (c Class) Accounted() bool {
	return !slices.Contains([]Class{Overdue, Unknown, Unclosed, Mismatch, Missed, Lost}, c)
}

// facts are all that is known of a request.
type facts struct {
	trace   *Trace // nil: our streams hold nothing
	details []erplog.Detail
	lost    bool   // its dead letter is gone; see Trace.lostLetter
	logged  string // outcome of its delivery, as Procore logged it; "": not logged

	occurred time.Time // of that delivery
	now      time.Time // when the reading of Procore began
	limits   deadline.Limits
	ours     *company.Company // nil: all requests are ours
}

// Finding is what an audit says of a request.
type Finding struct {
	Request  int64     `json:"erp_request_id"`
	Type     string    `json:"type"` // "_": not known
	Class    Class     `json:"class"`
	Clicked  time.Time `json:"clicked_at"`
	Stage    string    `json:"stage,omitempty"`    // of a request at work: the stop it is at
	Age      string    `json:"age,omitempty"`      // since it came to that stop
	Attempts int       `json:"attempts,omitempty"` // there
	Open     []int64   `json:"open_request_details,omitempty"`
	Listed   bool      `json:"listed"` // Procore lists it: a delivery, or a request detail
	Why      string    `json:"why,omitempty"`

	at Stop // the message that is at work
}

// slack is how much longer than its deadline a request may take until that is told.
const slack = time.Minute

// judge says how a request ended.
func judge(request int64, f facts) Finding {
	found := Finding{Request: request, Type: "_", Clicked: f.clicked(), Listed: f.logged != "" || len(f.details) > 0}
	for _, d := range f.details {
		if d.Open() {
			found.Open = append(found.Open, d.ID)
		}
	}
	if f.trace == nil || f.trace.empty() {
		found.absent(f)
		return found
	}
	found.Type = f.trace.Type
	stage, at := f.trace.stage()
	closed := f.trace.closed()
	switch {
	case closed != nil && stage == "" && closed.Left != "" && (closed.Left == bus.LeftOlder || len(found.Open) == 0):
		found.left(f, closed)
	case f.lost && stage == "":
		found.Class, found.Why = Lost, "it was put aside as a dead letter, and the stream of dead letters has none of it: "+
			"compare the record in Procore with the ERP, and have it sent again if the ERP does not have it"
	case closed != nil && len(found.Open) == 0:
		found.closed(f.trace, closed)
		found.against(f)
	case stage != "":
		found.atWork(f, stage, at)
	case closed != nil && closed.Closed.At.After(f.now): // told while Procore was read
		found.closed(f.trace, closed)
	case len(f.trace.Letters) > 0 && !f.trace.toldAny(found.Open):
		found.dead(f.trace)
	default:
		found.Class, found.Why = Mismatch, "the pipeline closed it, and Procore shows it open"
	}
	return found
}

// absent: our streams hold nothing of it.
func (found *Finding) absent(f facts) {
	strange := slices.ContainsFunc(f.details, func(d erplog.Detail) bool { return !d.Open() && !d.Ended() && !d.CalledOff() })
	switch {
	case !f.ours.InScope(found.Clicked):
		found.Class, found.Why = Older, older(f)
	case len(found.Open) == 0 && strange:
		found.Class, found.Why = Unknown, f.called()
	case len(found.Open) == 0 && slices.ContainsFunc(f.details, erplog.Detail.CalledOff):
		found.Class, found.Why = CalledOff, f.called()
	case len(f.details) > 0 && len(found.Open) == 0:
		found.Class, found.Why = Elsewhere, "Procore has it closed; the pipeline's streams hold nothing of it"
	case f.logged != "":
		found.Class, found.Why = Missed, fmt.Sprintf("it never arrived (Procore's delivery: %s); the next sweep, or tieback sweep, brings it in", f.logged)
	default:
		found.Class, found.Why = Missed, "it never arrived; the next sweep, or tieback sweep, brings it in"
	}
}

// left: the pipeline left it alone.
func (found *Finding) left(f facts, run *Run) {
	switch d := (erplog.Detail{Status: run.Left}); {
	case run.Left == bus.LeftOlder:
		found.Class, found.Why = Older, older(f)
	case d.CalledOff():
		found.Class, found.Why = CalledOff, cmp.Or(f.called(), "it was "+run.Left+" in Procore before it was booked")
	default:
		found.Class, found.Why = Unknown, cmp.Or(f.called(), fmt.Sprintf("it had the status %.40q in Procore, which this version does not know", run.Left))
	}
}

func older(f facts) string {
	if f.ours == nil || f.ours.Since.IsZero() {
		return "it was older than the company's since when it came"
	}
	return "it is older than the company's since, " + f.ours.Since.UTC().Format(time.RFC3339)
}

// called says which request details Procore shows as neither open nor ended; "": none.
func (f facts) called() string {
	var all []string
	for _, d := range f.details {
		if !d.Open() && !d.Ended() {
			all = append(all, d.Stands())
		}
	}
	return strings.Join(all, "; ")
}

// against holds what the pipeline has done against what Procore shows of it.
func (found *Finding) against(f facts) {
	called := f.called()
	switch {
	case called == "":
	case found.Class == Success || found.Class == Recovered:
		found.Class, found.Why = Mismatch, "the pipeline carried it out, and "+called
	default:
		found.Why = strings.TrimPrefix(found.Why+"; "+called, "; ")
	}
}

// closed judges a request by the last end of each of its request details. last is the run that was closed last.
func (found *Finding) closed(t *Trace, last *Run) {
	found.Class = Success
	var reasons, kept []string
	failed := false
	for _, c := range t.ends(last) {
		failed = failed || c.Status == tiebackv1.Status_STATUS_FAILED
		if c.Status == tiebackv1.Status_STATUS_FAILED {
			reasons = append(reasons, c.Messages...)
		}
		if c.Stands != "" && c.Stands != statusWord(c.Status) {
			kept = append(kept, fmt.Sprintf("Procore keeps request detail %d at %s", c.RequestDetailId, c.Stands))
		}
	}
	dead := len(t.Letters) > 0 || last.Dead
	switch {
	case dead && (failed || last.Dead):
		found.Class, reasons = Dead, nil
	case dead:
		found.Class = Recovered
	case failed || slices.ContainsFunc(last.Told, func(c *tiebackv1.CloseOut) bool { return c.Stands == "failed" }):
		found.Class = Failed
	}
	if why := t.why(); why != "" {
		reasons = append(reasons, why)
	}
	found.Why = strings.Join(slices.Compact(append(reasons, kept...)), "; ")
}

// ends are the last close-outs of all request details, and of last also those without one.
func (t *Trace) ends(last *Run) []*tiebackv1.CloseOut {
	runs := t.runs()
	slices.SortStableFunc(runs, func(a, b *Run) int { return a.Closed.At.Compare(b.Closed.At) })
	var all []*tiebackv1.CloseOut
	at := map[int64]int{}
	for _, r := range runs {
		for _, c := range r.Told {
			i, again := at[c.RequestDetailId]
			switch {
			case c.RequestDetailId == 0 && r != last:
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

func statusWord(s tiebackv1.Status) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "STATUS_"))
}

func (found *Finding) atWork(f facts, stage string, at Stop) {
	age := f.now.Sub(at.At)
	found.Class, found.Stage, found.Age, found.at = Working, stage, max(age, 0).Round(time.Second).String(), at
	row, _ := catalogue.Lookup(found.Type)
	if limit := f.limits.Of(row.Category); age > limit+slack {
		found.Class, found.Why = Overdue, fmt.Sprintf("not done within %v", limit)
	}
}

// dead: it was given up, and the user was not told.
func (found *Finding) dead(t *Trace) {
	found.Class, found.Why = Unclosed, t.why()
	discarded := func(l Letter) bool {
		d := t.Dealt[l.Sequence]
		return d != nil && d.Action == tiebackv1.Action_ACTION_DISCARDED
	}
	if len(found.Open) == 0 && discarded(t.Letters[len(t.Letters)-1]) {
		found.Class = Discarded
	}
}

func (f facts) clicked() time.Time {
	switch {
	case f.trace != nil && !f.trace.Clicked.IsZero():
		return f.trace.Clicked
	case len(f.details) > 0:
		return f.details[0].Created
	}
	return f.occurred
}

func (t *Trace) empty() bool {
	return len(t.Letters) == 0 && !slices.ContainsFunc(t.runs(), func(r *Run) bool {
		return r.Delivery != Stop{} || r.Event != Stop{} || r.Outcome != Stop{} || r.Closed != Stop{}
	})
}

// lostLetter says whether a closed message names a dead letter, and the trace has none. Of an event whose deadline has passed the
// letter may come a moment later than what is told.
func (t *Trace) lostLetter(now time.Time) bool {
	return len(t.Letters) == 0 && slices.ContainsFunc(t.runs(), func(r *Run) bool { return r.Dead && now.Sub(r.Closed.At) > slack })
}

// runs are the request's runs, in the order in which they began.
func (t *Trace) runs() []*Run {
	var all []*Run
	for _, r := range t.Runs {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *Run) int { return a.began().Compare(b.began()) })
	return all
}

func (r *Run) began() time.Time {
	for _, s := range []Stop{r.Delivery, r.Event, r.Outcome, r.Closed} {
		if !s.At.IsZero() {
			return s.At
		}
	}
	return time.Time{}
}

// closed is the last run that was closed; nil: none.
func (t *Trace) closed() *Run {
	var last *Run
	for _, r := range t.Runs {
		if !r.Closed.At.IsZero() && (last == nil || r.Closed.At.After(last.Closed.At)) {
			last = r
		}
	}
	return last
}

// AtWork says whether a stop still has something of the request to work.
func (t *Trace) AtWork() bool {
	stop, _ := t.stage()
	return stop != ""
}

// Ended says whether the request was closed or given up, and nothing of it is at work any more. Of
// one that our streams show nothing of, as a replica that lags may do, it says no.
func (t *Trace) Ended() bool { return !t.AtWork() && (t.closed() != nil || len(t.Letters) > 0) }

// LeftAlone says whether the pipeline left the request alone, and nothing of it is at work.
func (t *Trace) LeftAlone() bool {
	last := t.closed()
	return last != nil && last.Left != "" && !t.AtWork()
}

// Tells says whether a closed message says how a request detail ended.
func (t *Trace) Tells(detail int64) bool { return t.toldAny([]int64{detail}) }

// toldAny says whether a closed message says how one of the details ended.
func (t *Trace) toldAny(details []int64) bool {
	for _, r := range t.Runs {
		for _, c := range r.Told {
			if slices.Contains(details, c.RequestDetailId) && c.Status != tiebackv1.Status_STATUS_IN_PROGRESS {
				return true
			}
		}
	}
	return false
}

// stage is the stop at which the request is, and the message that it has to work; "": at none.
func (t *Trace) stage() (string, Stop) {
	for name, r := range t.Runs {
		if stop, at := r.stage(t.Type); stop != "" && !t.died(name, stop) {
			return stop, at
		}
	}
	return "", Stop{}
}

const (
	fetcher  = "fetcher"
	reporter = "status-reporter"
)

// streamOf is the stream that a stop reads.
func streamOf(stop string) string {
	switch stop {
	case fetcher:
		return bus.Delivery.Stream()
	case reporter:
		return bus.Outcome.Stream()
	}
	return bus.Event.Stream()
}

func (r *Run) stage(eventType string) (string, Stop) {
	row, _ := catalogue.Lookup(eventType)
	switch {
	case !r.Late.At.IsZero():
		return reporter, r.Late
	case !r.Closed.At.IsZero():
		return "", Stop{}
	case !r.Outcome.At.IsZero():
		return reporter, r.Outcome
	case !r.Event.At.IsZero():
		return cmp.Or(string(row.Category), "worker"), r.Event
	case !r.Delivery.At.IsZero():
		return fetcher, r.Delivery
	}
	return "", Stop{}
}

// died says whether a run's message was given up at a stop.
func (t *Trace) died(run, stop string) bool {
	return slices.ContainsFunc(t.Letters, func(l Letter) bool {
		return l.DeadLetter.Stop == stop && strings.TrimSuffix(strings.TrimSuffix(l.Run, "late"), "-") == run
	})
}

// why is the last dead letter in words, and what was done with it.
func (t *Trace) why() string {
	if len(t.Letters) == 0 {
		return ""
	}
	l := t.Letters[len(t.Letters)-1]
	text := fmt.Sprintf("dead letter %d of %s (%s): %s", l.Sequence, l.DeadLetter.Stop, deadletters.CauseName(l.Cause), cmp.Or(l.Sentence, l.Error))
	if d := t.Dealt[l.Sequence]; d != nil {
		text += "; it " + deadletters.Told(d)
	}
	return text
}
