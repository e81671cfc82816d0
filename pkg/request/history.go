package request

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Step is one message of a request's history.
type Step struct {
	At       time.Time // when the broker stored it
	Kind     bus.Kind
	Run      string // "": the first; see bus.Subject
	Subject  string
	Sequence uint64        // in the kind's stream
	Message  proto.Message // nil if it is malformed
}

// Steps returns the messages of one request as steps, oldest first.
func Steps(messages []bus.Message) []Step {
	all := make([]Step, 0, len(messages))
	for _, m := range messages {
		s := Step{At: m.Stored, Kind: kindOf(m.Stream), Subject: m.RawSubject, Sequence: m.Sequence}
		if s.Run = m.Subject.Run; m.Subject == (bus.Subject{}) {
			s.Run = runOf(m.RawSubject)
		}
		if s.Message = NewMessage(s.Kind); proto.Unmarshal(m.Data, s.Message) != nil {
			s.Message = nil
		}
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b Step) int { return a.At.Compare(b.At) })
	return all
}

// runOf returns the run of a subject; "" for the first, and for a subject that services do not write.
func runOf(subject string) string {
	if t := strings.Split(subject, "."); len(t) == 7 {
		return t[6]
	}
	return ""
}

// NewMessage returns an empty message of the type that messages of a kind have.
func NewMessage(k bus.Kind) proto.Message {
	switch k {
	case bus.Delivery:
		return &tiebackv1.Delivery{}
	case bus.Event:
		return &tiebackv1.Event{}
	case bus.Dead:
		return &tiebackv1.DeadLetter{}
	case bus.Resolution:
		return &tiebackv1.Resolution{}
	}
	return &tiebackv1.Outcome{}
}

// By returns the stage that published the message, or the person who resolved the dead letter; "" if that is not recorded, as
// for a delivery.
func (s Step) By() string {
	switch m := s.Message.(type) {
	case *tiebackv1.Event:
		return Fetcher
	case *tiebackv1.DeadLetter:
		return m.Stage
	case *tiebackv1.Resolution:
		return m.Who
	case *tiebackv1.Outcome:
		switch on, err := bus.Parse(s.Subject); {
		case s.Kind == bus.Closed:
			return StatusReporter
		case s.Run == bus.Swept:
			return "sweep"
		case m.Expired:
			return DeadlineStage
		case err == nil && on.Type != catalogue.Unknown:
			return string(on.Category)
		}
		return Fetcher
	}
	return ""
}

// Text describes the step in one line.
func (s Step) Text() string {
	switch m := s.Message.(type) {
	case *tiebackv1.Delivery:
		return "delivery received"
	case *tiebackv1.Event:
		return fmt.Sprintf("fetched: %s, %d bytes", m.Type, len(m.Payload))
	case *tiebackv1.Outcome:
		if m.SkipReason != "" {
			return "not processed: " + m.SkipReason
		}
		text := "processed: "
		if s.Kind == bus.Closed {
			text = "reported to Procore: "
		}
		if text += CloseOutsText(m.CloseOuts); m.DeadLettered {
			text += ", dead-lettered"
		}
		return text
	case *tiebackv1.DeadLetter:
		attempts := "1 attempt"
		if m.Attempts != 1 {
			attempts = fmt.Sprint(m.Attempts, " attempts")
		}
		return fmt.Sprintf("%s gave up after %s, dead letter %d: %s", m.Stage, attempts, s.Sequence, m.Error)
	case *tiebackv1.Resolution:
		return fmt.Sprintf("dead letter %d %s", m.DeadLetter, ResolutionText(m))
	}
	return "a malformed message"
}

// CloseOutsText describes close-outs.
func CloseOutsText(all []*tiebackv1.CloseOut) string {
	var parts []string
	for _, c := range all {
		part := StatusName(c.Status)
		if c.RequestDetailId != 0 {
			part = fmt.Sprintf("request detail %d %s", c.RequestDetailId, part)
		}
		if c.Record != "" {
			part += " (" + c.Record + ")"
		}
		if len(c.Messages) > 0 {
			part += fmt.Sprintf(" %q", strings.Join(c.Messages, " "))
		}
		if c.KeptStatus != "" {
			part += fmt.Sprintf(", but Procore keeps the earlier status %s", c.KeptStatus)
		}
		parts = append(parts, part)
	}
	if parts == nil {
		return "nothing to close"
	}
	return strings.Join(parts, "; ")
}

// RunState is the current state of one run of a request.
type RunState struct {
	Run  string // "": the first
	At   time.Time
	Text string
}

// RunStates returns the state of each run, in the order in which they began.
func (t *Timeline) RunStates() []RunState {
	var all []RunState
	type key struct{ run, eventType string }
	began := map[string]time.Time{}
	known := map[key]bool{}
	add := func(from time.Time, eventType string, s RunState) { // does nothing if this run and type have a state already
		if k := (key{s.Run, eventType}); !known[k] {
			known[k], all = true, append(all, s)
			if first, ok := began[s.Run]; !ok || from.Before(first) {
				began[s.Run] = from
			}
		}
	}
	for _, r := range t.Reports {
		text := r.text()
		if t.deadLetterOf(r.Run, r.Type) != nil {
			text += "; dead-lettered"
		}
		from := r.At
		for _, run := range t.Runs {
			if run.Name == r.Run && run.Type == r.Type && !run.began().IsZero() {
				from = run.began()
			}
		}
		add(from, r.Type, RunState{r.Run, r.At, text})
	}
	for _, r := range t.Runs {
		if r.Late.exists() {
			add(r.Late.At, r.Type, RunState{bus.Subject{Run: r.Name}.Late().Run, r.Late.At, "processed, not reported to Procore yet"})
		}
		if !r.began().IsZero() {
			add(r.began(), r.Type, t.unreported(r))
		}
	}
	slices.SortStableFunc(all, func(a, b RunState) int { return began[a.Run].Compare(began[b.Run]) })
	return all
}

// unreported returns the state of a run that was not reported to Procore.
func (t *Timeline) unreported(r *Run) RunState {
	switch dead := t.deadLetterOf(r.Name, r.Type); {
	case r.Outcome.exists() && dead != nil:
		return RunState{r.Name, r.Outcome.At, "processed, not reported to Procore yet; dead-lettered"}
	case r.Outcome.exists():
		return RunState{r.Name, r.Outcome.At, "processed, not reported to Procore yet"}
	case dead != nil:
		return RunState{r.Name, dead.At, "dead-lettered; nothing was reported to Procore"}
	case r.Event.exists():
		return RunState{r.Name, r.Event.At, "being processed, or waiting for a worker"}
	}
	return RunState{r.Name, r.Delivery.At, "waiting to be fetched"}
}

// deadLetterOf returns the oldest dead letter with this run name and event type, or nil if there is none.
func (t *Timeline) deadLetterOf(run, eventType string) *DeadLetter {
	i := slices.IndexFunc(t.DeadLetters, func(d DeadLetter) bool { return d.Run == run && d.eventType == eventType })
	if i < 0 {
		return nil
	}
	return &t.DeadLetters[i]
}

// began returns when the first message of the run was stored; zero: the run has only a late outcome.
func (r *Run) began() time.Time {
	for _, p := range []Position{r.Delivery, r.Event, r.Outcome} {
		if p.exists() {
			return p.At
		}
	}
	return time.Time{}
}

// text describes the report. If the request was not processed, nothing was reported, and text gives the
// reason instead.
func (r Report) text() string {
	if r.SkipReason != "" {
		return "not processed: " + r.SkipReason
	}
	return "closed: " + CloseOutsText(r.CloseOuts)
}

// FailureReport says whether the failure of a dead-lettered request was reported to Procore, where the accountant sees it.
type FailureReport string

// The values of FailureReport.
const (
	FailureReported      FailureReport = "yes"     // a request detail was closed as failed
	FailureReportPending FailureReport = "pending" // an outcome with a failed request detail waits for the status-reporter
	FailureNotReported   FailureReport = "no"
)

// FailureReportOf returns whether the failure of d was reported, and the messages that Procore shows or, if the report is
// pending, will show. It looks for failed request details in the steps of d's run and in those of a sweep after d. steps are
// the steps of d's request, in any order.
func FailureReportOf(d DeadLetter, steps []Step) (report FailureReport, messages []string) {
	run := runOf(d.Subject)
	report = FailureNotReported
	for _, s := range steps {
		o, ok := s.Message.(*tiebackv1.Outcome)
		if !ok || s.Run != run && (s.Run != bus.Swept || s.At.Before(d.At)) {
			continue
		}
		failed, texts := failures(o)
		switch {
		case !failed:
		case s.Kind == bus.Closed && report != FailureReported:
			report, messages = FailureReported, texts
		case s.Kind == bus.Closed:
			messages = append(messages, texts...)
		case report == FailureNotReported:
			report, messages = FailureReportPending, texts
		}
	}
	return report, messages
}

// failures reports whether an outcome has a failed request detail, and returns the messages of all of them, without duplicates.
func failures(o *tiebackv1.Outcome) (failed bool, messages []string) {
	for _, c := range o.CloseOuts {
		if c.RequestDetailId == 0 || c.Status != tiebackv1.Status_STATUS_FAILED {
			continue
		}
		failed = true
		for _, m := range c.Messages {
			if !slices.Contains(messages, m) {
				messages = append(messages, m)
			}
		}
	}
	return failed, messages
}
