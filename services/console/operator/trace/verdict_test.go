package trace

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

var clicked = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// message returns a message of request 12 of company 7, so many seconds after the click.
func message(t *testing.T, seconds float64, seq uint64, k bus.Kind, run string, m proto.Message) bus.Message {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	eventType := "create_vendor"
	if d, dead := m.(*tiebackv1.DeadLetter); k == bus.Delivery || run == bus.Swept || dead && d.Stage == "fetcher" {
		eventType = "" // not known yet
	}
	s := bus.For(k, eventType, 7, 12).WithRun(run)
	return bus.Message{Subject: s, RawSubject: s.String(), Data: data, Stored: clicked.Add(time.Duration(seconds * float64(time.Second))), Stream: k.Stream(), Sequence: seq}
}

func closeOuts(statuses ...tiebackv1.Status) *tiebackv1.Outcome {
	o := &tiebackv1.Outcome{CompanyId: 7, ErpRequestId: 12, ProcoreCalls: 1}
	for i, s := range statuses {
		o.CloseOuts = append(o.CloseOuts, &tiebackv1.CloseOut{RequestDetailId: int64(i + 1), Status: s})
	}
	return o
}

const (
	success      = tiebackv1.Status_STATUS_SUCCESS
	statusFailed = tiebackv1.Status_STATUS_FAILED
)

func TestVerdicts(t *testing.T) {
	delivery := message(t, 0.5, 1, bus.Delivery, "", &tiebackv1.Delivery{CompanyId: 7, ErpRequestId: 12, EventId: "1", OccurredAt: timestamppb.New(clicked)})
	event := message(t, 1, 1, bus.Event, "", &tiebackv1.Event{CompanyId: 7, ErpRequestId: 12, Type: "create_vendor", RequestedAt: timestamppb.New(clicked)})
	ended := func(o *tiebackv1.Outcome) []bus.Message {
		return []bus.Message{delivery, event, message(t, 2, 1, bus.Outcome, "", o), message(t, 3.25, 1, bus.Closed, "", o)}
	}
	expired := closeOuts(statusFailed)
	expired.Expired, expired.DeadLettered = true, true
	late := closeOuts(success)
	late.CloseOuts[0].KeptStatus = "failed"
	letter := message(t, 2, 42, bus.Dead, "", &tiebackv1.DeadLetter{CompanyId: 7, ErpRequestId: 12, Type: "create_vendor", Stage: "export", Attempts: 12, Cause: tiebackv1.Cause_CAUSE_ERP, Subject: event.RawSubject})
	unread := message(t, 2, 42, bus.Dead, "", &tiebackv1.DeadLetter{CompanyId: 7, ErpRequestId: 12, Stage: "fetcher", Attempts: 3, Cause: tiebackv1.Cause_CAUSE_PROCORE, Subject: delivery.RawSubject})
	discarded := message(t, 3, 1, bus.Resolution, "42", &tiebackv1.Resolution{CompanyId: 7, ErpRequestId: 12, DeadLetter: 42, Action: tiebackv1.Action_ACTION_DISCARDED, Who: "ann@office", Reason: "made by hand"})
	open := []procore.Detail{{ID: 1, Request: 12, Status: "in_progress"}}
	for _, c := range []struct {
		name     string
		messages []bus.Message
		details  []procore.Detail
		class    request.Class
		want     []string
	}{
		{"success", ended(closeOuts(success)), nil, request.Success, []string{"closed as success about 3 s after the click"}},
		{"failed", ended(closeOuts(statusFailed)), nil, request.Failed, []string{"closed as failed about 3 s after the click"}},
		{"failed in part", ended(closeOuts(success, statusFailed, success)), nil, request.Failed, []string{"closed as failed in 1 of 3 request details"}},
		{"nothing to close", ended(closeOuts()), nil, request.Success, []string{"processed, with nothing to close"}},
		{"its deadline passed", append(ended(expired), letter), nil, request.Dead, []string{"closed as failed because its deadline passed", "dead letter 42 (export, erp) is unresolved"}},
		{"late", append(ended(expired), letter, message(t, 9, 2, bus.Outcome, "late", late), message(t, 10, 2, bus.Closed, "late", late)), nil, request.Recovered,
			[]string{"the late outcome was closed as success about 10 s after the click", "Procore keeps request detail 1 at failed"}},
		{"closed by a sweep", []bus.Message{delivery, unread, message(t, 60, 3, bus.Closed, bus.Swept, closeOuts(statusFailed))}, nil, request.Dead, []string{"the request detail that was left open was closed as failed"}},
		{"given up, and not reported", []bus.Message{delivery, unread}, nil, request.Unclosed, []string{"dead-lettered by fetcher (procore) after 3 attempts, and not reported to Procore yet", "dead letter 42 (fetcher, procore) is unresolved"}},
		{"given up and discarded", []bus.Message{delivery, unread, discarded}, nil, request.Discarded, []string{"dead letter 42 was discarded by ann@office"}},
		{"closed here, and open there", ended(closeOuts(success)), open, request.Mismatch, []string{"closed as success", "but Procore shows request details [1] open"}},
		{"never arrived", nil, nil, request.Missed, []string{"never arrived here", "the next sweep fetches it"}},
	} {
		r := newReader(Options{Request: 12})
		r.read(c.messages, 0)
		now := clicked.Add(time.Hour)
		r.verdict = r.history.Verdict(request.Rules{Deadlines: request.Deadlines{Interactive: 15 * time.Minute}}, request.ProcoreLists{Details: c.details}, now)
		r.conclude(now)
		if got := r.Timeline.Request.Class; got != string(c.class) || r.AccountedFor == c.class.NeedsAction() {
			t.Errorf("%s: class %s, want %s", c.name, got, c.class)
		}
		if strings.Contains(r.Verdict, "tieback ") || strings.Contains(r.Verdict, "--") {
			t.Errorf("%s: the verdict is shown on pages, and has a command: %q", c.name, r.Verdict)
		}
		for _, want := range c.want {
			if !strings.Contains(r.Verdict, want) {
				t.Errorf("%s: the verdict is %q, want %q in it", c.name, r.Verdict, want)
			}
		}
		if c.class == request.Discarded && strings.Contains(r.Verdict, "is unresolved") {
			t.Errorf("%s: no dead letter is unresolved: %q", c.name, r.Verdict)
		}
	}
}

// The verdict says what the request waits for, since when, and what comes next.
func TestVerdictInProgress(t *testing.T) {
	now := time.Now()
	next, end := now.Add(8*time.Second), now.Add(10*time.Minute)
	for _, c := range []struct {
		place *operatorv1.Current
		want  string
	}{
		{&operatorv1.Current{Stage: "export", DeliveryState: string(request.Queued)}, "in the queue of export since"},
		{&operatorv1.Current{Stage: "export", DeliveryState: string(request.Delivered)}, "with export since"},
		{&operatorv1.Current{Stage: "export", DeliveryState: string(request.NoConsumer)}, "which has never run"},
		{&operatorv1.Current{Stage: "export", DeliveryState: string(request.Settled), Run: "42"}, "run 42 was acknowledged by export without a result"},
		{&operatorv1.Current{Stage: "export", DeliveryState: string(request.Delivered), Attempts: 3, Failure: &operatorv1.Failure{Class: "throttled", Source: "procore"}}, "waiting for a rate limit since"},
		{&operatorv1.Current{Stage: "fetcher", DeliveryState: string(request.Delivered), Attempts: 3, Failure: &operatorv1.Failure{Class: "transient", Source: "procore"}}, "waiting for Procore since"},
		{&operatorv1.Current{Stage: "export", DeliveryState: string(request.Delivered), Attempts: 3, Failure: &operatorv1.Failure{Class: "transient"}}, "waiting for another attempt since"},
		{&operatorv1.Current{Stage: "export", DeliveryState: string(request.Delivered), Attempts: 3, NextAttempt: timestamppb.New(next), Due: timestamppb.New(end), Failure: &operatorv1.Failure{Class: "transient", Source: "erp"}}, "at export, 3 attempts, next at about " + clock(next, now) + ", deadline " + clock(end, now)},
	} {
		c.place.Since = timestamppb.New(now.Add(-time.Minute))
		r := &reader{Timeline: &operatorv1.Timeline{Current: c.place}}
		if got := r.inProgress(now); !strings.Contains(got, c.want) {
			t.Errorf("verdict %q, want %q in it", got, c.want)
		}
	}
}
