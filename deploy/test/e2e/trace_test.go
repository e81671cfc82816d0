package endtoend

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/console/operator/trace"
)

// story reads the trace of a request; change may change the options.
func (l *line) story(company, clicked int64, change func(*trace.Options)) *operatorv1.Timeline {
	l.world.Helper()
	o := trace.Options{
		Company: company, Request: clicked, Backoff: l.Backoff,
		Rules: request.Rules{Deadlines: request.Deadlines{Interactive: l.Settings.Deadline, Sync: l.Settings.SyncDeadline}},
	}
	if change != nil {
		change(&o)
	}
	s, err := trace.Read(l.world.Context(), l.Bus, o)
	l.world.must(err)
	return s
}

// askProcore makes the trace include Procore's view.
func (l *line) askProcore(o *trace.Options) {
	session, err := l.Procore.Company(o.Company)
	l.world.must(err)
	o.Procore = session
}

// stepsOf returns the kinds of the steps, with their runs.
func stepsOf(s *operatorv1.Timeline) string {
	var out []string
	for _, st := range s.Steps {
		kind := st.Kind
		if st.Run != "" {
			kind += "/" + st.Run
		}
		out = append(out, kind)
	}
	return strings.Join(out, " ")
}

func (w *world) verdict(s *operatorv1.Timeline, class request.Class, parts ...string) {
	w.Helper()
	of := s.Request
	if of.Class != string(class) || s.AccountedFor == class.NeedsAction() {
		w.Errorf("request %d is %s (accounted for: %v), want %s", of.RequestId, of.Class, s.AccountedFor, class)
	}
	for _, p := range parts {
		if !strings.Contains(s.Verdict, p) {
			w.Errorf("the verdict on request %d is %q, want %q in it", of.RequestId, s.Verdict, p)
		}
	}
}

func TestTraceOfSuccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.run()
	vendor := w.minted("vendor")
	clicked := w.pressIn(firstCompany, "create_vendor", w.vendor(vendor, "Acme"))
	w.succeeded(clicked)
	s := l.story(firstCompany, clicked, nil)
	if stepsOf(s) != "delivery event outcome closed" || s.Current != nil || s.Request.Type != "create_vendor" || s.Request.Category != "export" || len(s.Unread) > 0 {
		t.Fatalf("the steps are %s, at %+v, %v", stepsOf(s), s.Current, s.Unread)
	}
	w.verdict(s, request.Success, "closed as success", "after the click")
	for i, want := range []struct{ by, since string }{{"", "created"}, {"fetcher", "delivery"}, {"export", "event"}, {"status-reporter", "outcome"}} {
		if st := s.Steps[i]; st.By != want.by || st.Since != want.since || st.Took == nil || st.Took.AsDuration() < 0 || st.Took.AsDuration() > time.Minute {
			t.Errorf("step %d, %s, is by %q, since %q, took %v; want %v", i, st.Kind, st.By, st.Since, st.Took, want)
		}
	}
	told := s.Steps[3].GetOutcome()
	if told.GetProcoreCalls() < 1 || len(told.CloseOuts) != 1 {
		t.Fatalf("reported: %+v", told)
	}
	if c := told.CloseOuts[0]; c.Status != "success" || c.RequestDetailId == 0 || !slices.ContainsFunc(c.Marks, func(m *operatorv1.Mark) bool {
		return m.ItemType == "vendor" && m.ItemId == vendor && m.OriginId == w.marked(vendor)
	}) {
		t.Errorf("the close-out is %+v, want the vendor %d marked as %s", c, vendor, w.marked(vendor))
	}
	if raw := w.json(s); strings.Contains(raw, "request_data") {
		t.Error("the payload is shown without the option")
	}
	whole := l.story(firstCompany, clicked, func(o *trace.Options) { o.Payload = true; l.askProcore(o) })
	if raw := w.json(whole); !strings.Contains(raw, `\"request_data\"`) {
		t.Errorf("the payload is missing: %s", raw)
	}
	if p := whole.Procore; p == nil || !p.Known || p.Type != "create_vendor" || len(p.Details) != 1 || p.Details[0].Status != "success" || p.ProcoreCalls != 2 {
		t.Errorf("Procore's view is %+v", p)
	}
}

func (w *world) json(v any) string {
	w.Helper()
	raw, err := json.Marshal(v)
	w.must(err)
	return string(raw)
}

func TestTraceOfReplayedDeadLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{deadline: time.Second, backoff: time.Millisecond})
	away := w.down()
	l := w.runWith(services{"sweep": nil})
	clicked := w.press("create_vendor")
	w.failed(clicked, "")
	letter := l.listed(1)[0]
	s := l.story(firstCompany, clicked, nil)
	w.verdict(s, request.Dead, "closed as failed", "dead letter 1", "erp", "is unresolved")
	away.Store(false)
	l.replayed(letter.ID)
	s = l.story(firstCompany, clicked, nil)
	if k := stepsOf(s); !strings.Contains(k, "resolution/1 ") || !strings.Contains(k, "event/1 outcome/1 closed/1") || !strings.Contains(k, "dead") {
		t.Errorf("the steps are %s", k)
	}
	w.verdict(s, request.Recovered, "run 1, the replay of dead letter 1, was closed as success", "Procore keeps request detail", "at failed")
	if strings.Contains(s.Verdict, "is unresolved") {
		t.Errorf("the dead letter is resolved, but the verdict is %q", s.Verdict)
	}
	for _, st := range s.Steps {
		switch {
		case st.GetDeadLetter() != nil && (st.GetDeadLetter().Cause != "erp" || st.GetDeadLetter().Attempts < 1 || st.GetDeadLetter().Error == "" || st.Since != "event"):
			t.Errorf("the step of the dead letter is %v", st)
		case st.GetResolution() != nil && (st.By != "ann@office" || st.GetResolution().Action != "replayed" || st.Since != "dead_letter"):
			t.Errorf("the step of the resolution is %v", st)
		case st.Kind == "event" && st.Run == "1" && (st.Since != "resolution" || st.By != "ann@office"):
			t.Errorf("the replay has since %q", st.Since)
		}
	}
}

func TestTraceOfRequestThatWaitsForERP(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{backoff: 10 * time.Millisecond})
	away := w.down()
	l := w.run()
	clicked := w.press("create_vendor")
	var s *operatorv1.Timeline
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if s = l.story(firstCompany, clicked, nil); s.Current != nil && s.Current.NextAttempt != nil && s.Current.Attempts > 1 {
			break
		}
	}
	p := s.Current
	if p == nil || p.NextAttempt == nil || p.Stage != "export" || p.DeliveryState != string(request.Delivered) || p.Failure.Source != "erp" || !strings.Contains(p.Failure.Error, "connection refused") {
		t.Fatalf("the current step is %s", w.json(p))
	}
	if d := p.Due; d == nil || d.AsTime().Sub(p.Since.AsTime()) != 15*time.Minute {
		t.Errorf("the deadline is %v", p.Due)
	}
	if gap := p.NextAttempt.AsTime().Sub(p.LastAttempt.AsTime()); gap < 10*time.Millisecond || gap > 600*time.Millisecond {
		t.Errorf("the next attempt is %v after the last", gap)
	}
	w.verdict(s, request.InProgress, "waiting for the ERP since", "attempts, next at about", "deadline")
	away.Store(false)
	w.succeeded(clicked)
	if s = l.story(firstCompany, clicked, nil); s.Current != nil {
		t.Errorf("closed, but the current step is %+v", s.Current)
	}
}

// A message that was never delivered has no attempts.
func TestTraceOfQueuedRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.run()
	w.succeeded(w.press("create_vendor"))
	l.stop()
	l = w.runWith(services{"export": nil, "sweep": nil})
	clicked := w.press("create_vendor")
	event := bus.For(bus.Event, "create_vendor", firstCompany, clicked)
	l.stored(event)
	s := l.story(firstCompany, clicked, nil)
	if p := s.Current; p == nil || p.DeliveryState != string(request.Queued) || p.Attempts != 0 || p.Failure != nil || p.Stage != "export" {
		t.Errorf("the current step is %s", w.json(s.Current))
	}
	w.verdict(s, request.InProgress, "in the queue of export since", "not started", "deadline")
}

func TestTraceOfSweptRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{noHooks: true})
	l := w.runWith(services{"sweep": nil})
	clicked := w.press("create_vendor")
	s := l.story(firstCompany, clicked, nil)
	w.verdict(s, request.Missed, "never arrived here", "the next sweep fetches it")
	s = l.story(firstCompany, clicked, l.askProcore)
	w.verdict(s, request.Missed, "Procore has it: the next sweep fetches it")
	if len(s.Steps) != 0 || s.Procore.Type != "create_vendor" || len(s.Procore.Details) != 1 {
		t.Errorf("the steps are %s", w.json(s))
	}
	s = l.story(firstCompany, clicked+1_000_000, l.askProcore)
	w.verdict(s, request.Missed, "Procore does not have it either")

	l.sweep(l.sweeper())
	w.succeeded(clicked)
	s = l.story(firstCompany, clicked, nil)
	w.verdict(s, request.Success, "closed as success")
	if stepsOf(s) != "delivery event outcome closed" || s.Steps[0].By != "sweep" || !strings.Contains(s.Steps[0].Text, "a sweep found it") {
		t.Errorf("the steps are %s, and begins by %q", stepsOf(s), s.Steps[0].By)
	}
}

// Two companies have a request of the same id: both are named, and each has its own trace.
func TestTraceOfRequestInTwoCompanies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{companies: 2})
	l := w.runWith(services{"sweep": nil})
	clicked := w.press("create_vendor")
	w.succeeded(clicked)
	known := []int64{firstCompany, firstCompany + 1}
	have, err := request.Companies(t.Context(), l.Bus, clicked, known)
	if err != nil || !slices.Equal(have, known[:1]) {
		t.Errorf("the companies are %v, %v", have, err)
	}
	if have, err = request.Companies(t.Context(), l.Bus, clicked, nil); err != nil || !slices.Equal(have, known[:1]) {
		t.Errorf("without the companies file they are %v, %v", have, err)
	}
	w.must(l.Bus.PublishOnce(t.Context(), bus.For(bus.Delivery, "", firstCompany+1, clicked), &tiebackv1.Delivery{
		CompanyId: firstCompany + 1, ErpRequestId: clicked, EventId: "1", OccurredAt: timestamppb.Now(), ReceivedAt: timestamppb.Now(),
	}))
	if have, err = request.Companies(t.Context(), l.Bus, clicked, known); err != nil || !slices.Equal(have, known) {
		t.Errorf("the companies are %v, %v", have, err)
	}
	w.verdict(l.story(firstCompany, clicked, nil), request.Success)
	if s := l.story(firstCompany+1, clicked, nil); s.Request.Type == "create_vendor" || len(s.Steps) == 0 || s.Steps[0].GetDelivery().GetEventId() != "1" {
		t.Errorf("the trace of the other company is %s", w.json(s))
	}
	if have, err = request.Companies(t.Context(), l.Bus, clicked+1_000_000, known); err != nil || len(have) > 0 {
		t.Errorf("a request that never arrived has the companies %v, %v", have, err)
	}
}

// What the broker does not answer is named, and nothing is concluded from it.
func TestTraceWithoutBroker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	l := w.runOnBroker()
	request := w.press("create_vendor")
	w.succeeded(request)
	w.must(l.Bus.JetStream().DeleteStream(t.Context(), bus.Closed.Stream()))
	s := l.story(firstCompany, request, nil)
	if len(s.Unread) != 1 || !strings.Contains(s.Unread[0], bus.Closed.Stream()) || s.AccountedFor || !strings.HasPrefix(s.Verdict, "as far as could be read:") {
		t.Errorf("without the stream of close-outs, the steps are %s, %v", s.Verdict, s.Unread)
	}
	l.broker.Close()
	if s = l.story(firstCompany, request, nil); len(s.Unread) < len(bus.Kinds) || s.AccountedFor {
		t.Errorf("without a broker the steps are %s, %v", s.Verdict, s.Unread)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := trace.Read(ctx, l.Bus, trace.Options{Company: firstCompany, Request: request}); err == nil {
		t.Error("no error after the context ended")
	}
}
