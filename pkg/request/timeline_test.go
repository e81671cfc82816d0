package request

import (
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// If several runs are at a stage, Stage returns the stage whose message was stored last, in whatever order the
// messages are read.
func TestStageIsThatOfTheNewestRun(t *testing.T) {
	event := recorded(t, 1, bus.Event, "", &tiebackv1.Event{})
	replay, again := recorded(t, 2, bus.Event, "3", &tiebackv1.Event{}), recorded(t, 3, bus.Outcome, "3-2", &tiebackv1.Outcome{})
	for range 16 {
		for _, messages := range [][]bus.Message{{event, replay, again}, {again, event, replay}, {replay, again, event}} {
			if s := TimelineOf(12, messages, 0).Stage(); s.Name != StatusReporter || s.Run != "3-2" || s.Sequence != 3 {
				t.Fatalf("the request is at %+v", s)
			}
		}
	}
}

// An event without a request detail has no deadline, and is never overdue.
func TestEventWithoutDetailIsNotOverdue(t *testing.T) {
	rules := Rules{Deadlines: Deadlines{Interactive: 15 * time.Minute, Sync: 2 * time.Hour}}
	later := now.Add(time.Hour)
	for payload, want := range map[string]Class{`{"request_data":{}}`: InProgress, `{"request_data":{"request_detail_id":5}}`: Overdue} {
		v := TimelineOf(12, []bus.Message{recorded(t, 1, bus.Event, "", &tiebackv1.Event{Payload: []byte(payload)})}, 0).Verdict(rules, ProcoreLists{}, later)
		if v.Class != want || v.Due.IsZero() == (want == Overdue) {
			t.Errorf("%s: %s, due at %v; want %s", payload, v.Class, v.Due, want)
		}
	}
}

// A dead letter is unresolved if its replay was not published, unless the replay may have expired since.
func TestInterruptedReplayIsUnresolved(t *testing.T) {
	dead := recorded(t, 1, bus.Dead, "", &tiebackv1.DeadLetter{Stage: "export", Subject: "tb.event.export.create_vendor.7.12"})
	decided := recorded(t, 2, bus.Resolution, "1", &tiebackv1.Resolution{DeadLetter: 1, Action: tiebackv1.Action_ACTION_REPLAYED, Subject: "tb.event.export.create_vendor.7.12.1"})
	published := recorded(t, 3, bus.Event, "1", &tiebackv1.Event{})
	for name, c := range map[string]struct {
		messages []bus.Message
		kept     time.Duration
		want     State
	}{
		"unresolved":  {[]bus.Message{dead}, 0, StateUnresolved},
		"interrupted": {[]bus.Message{decided, dead}, 0, StateInterrupted},
		"published":   {[]bus.Message{published, decided, dead}, 0, StateReplayed},
		"expired":     {[]bus.Message{dead, decided}, time.Hour, StateReplayed},
	} {
		timeline := TimelineOf(12, c.messages, c.kept)
		if got := timeline.DeadLetters[0].State; got != c.want || (timeline.OpenDeadLetter() == nil) != timeline.DeadLetters[0].Resolved() {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// An outcome of another type than its event, as a stolen key of a worker can publish, ends neither the event nor the delivery,
// whether the status-reporter refused it or reported it.
func TestOutcomeOfAnotherTypeEndsNoEvent(t *testing.T) {
	at := func(n int, k bus.Kind, eventType string, m proto.Message) bus.Message {
		r := recorded(t, n, k, "", m)
		r.Subject = bus.For(k, eventType, 7, 12)
		r.RawSubject = r.Subject.String()
		return r
	}
	event := &tiebackv1.Event{Payload: []byte(`{"request_data":{"request_detail_id":5}}`)}
	forged := &tiebackv1.Outcome{CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: 5, Status: tiebackv1.Status_STATUS_FAILED}}}
	rules := Rules{Deadlines: Deadlines{Interactive: 15 * time.Minute, Sync: 2 * time.Hour}}
	delivered, fetched := at(1, bus.Delivery, "", &tiebackv1.Delivery{}), at(2, bus.Event, "create_vendor", event)
	for _, eventType := range []string{"", "sync_vendors"} {
		outcome := at(3, bus.Outcome, eventType, forged)
		refused := at(4, bus.Dead, eventType, &tiebackv1.DeadLetter{Stage: StatusReporter, Subject: outcome.RawSubject, Error: "outcome refused"})
		for name, c := range map[string]struct {
			messages []bus.Message
			stage    string
		}{
			"refused, fetched":     {[]bus.Message{delivered, fetched, outcome, refused}, "export"},
			"refused, not fetched": {[]bus.Message{delivered, outcome, refused}, Fetcher},
			"reported, fetched":    {[]bus.Message{delivered, fetched, outcome, at(4, bus.Closed, eventType, forged)}, "export"},
		} {
			for range 8 {
				rand.Shuffle(len(c.messages), func(i, j int) { c.messages[i], c.messages[j] = c.messages[j], c.messages[i] })
				timeline := TimelineOf(12, c.messages, 0)
				if s := timeline.Stage(); s.Name != c.stage || timeline.Ended() {
					t.Fatalf("%q, %s: at %+v, ended %v; want it at %s", eventType, name, s, timeline.Ended(), c.stage)
				}
				if v := timeline.Verdict(rules, ProcoreLists{}, now.Add(time.Minute)); v.Class != InProgress || v.Due.IsZero() {
					t.Fatalf("%q, %s: %s, due at %v; want in-progress with a deadline", eventType, name, v.Class, v.Due)
				}
				if c.stage == "export" && timeline.Type != "create_vendor" {
					t.Fatalf("%q, %s: the type is %s", eventType, name, timeline.Type)
				}
			}
		}
	}
}

// Only the status-reporter reports, and only an outcome whose event it has read. Its report ends a delivery whose event the
// stream has lost since.
func TestReportEndsDeliveryWithoutEvent(t *testing.T) {
	delivered := recorded(t, 1, bus.Delivery, "", &tiebackv1.Delivery{})
	delivered.Subject = bus.For(bus.Delivery, "", 7, 12)
	reported := recorded(t, 2, bus.Closed, "", &tiebackv1.Outcome{CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: 5, Status: tiebackv1.Status_STATUS_SUCCESS}}})
	reported.Subject = bus.For(bus.Closed, "create_vendor", 7, 12)
	timeline := TimelineOf(12, []bus.Message{delivered, reported}, 0)
	if s := timeline.Stage(); s.Name != "" || !timeline.Ended() {
		t.Errorf("it is at %+v, ended %v; want it ended", s, timeline.Ended())
	}
}
