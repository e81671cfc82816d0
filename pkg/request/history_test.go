package request

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// Procore gives the time of the click in whole seconds of its own clock, so tenths of a second are not shown.
func TestTookFromClick(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "less than 1 s", 880 * time.Millisecond: "less than 1 s", 3900 * time.Millisecond: "about 3 s", 903500 * time.Millisecond: "about 15m3s",
	} {
		if got := TookFromClick(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

// Causes has the name of every cause.
func TestCauseNames(t *testing.T) {
	for n := range tiebackv1.Cause_name {
		if name := CauseName(tiebackv1.Cause(n)); !slices.Contains(Causes, name) {
			t.Errorf("cause %d is %q, which is none of %v", n, name, Causes)
		}
	}
	if got := ResolutionText(&tiebackv1.Resolution{Action: tiebackv1.Action_ACTION_DISCARDED, Who: "ann", At: timestamppb.New(time.Unix(0, 0)), Reason: "no"}); got != `was discarded by ann at 1970-01-01T00:00:00Z because "no"` {
		t.Errorf("ResolutionText returns %q", got)
	}
}

// recorded returns a message of request 12 of company 7, the n-th that the broker stored.
func recorded(t testing.TB, n int, k bus.Kind, run string, m proto.Message) bus.Message {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	s := bus.For(k, "create_vendor", 7, 12).WithRun(run)
	if k == bus.Delivery {
		s = bus.For(k, "", 7, 12).WithRun(run)
	}
	return bus.Message{Subject: s, RawSubject: s.String(), Data: data, Stored: now.Add(time.Duration(n) * time.Second), Stream: k.Stream(), Sequence: uint64(n)}
}

// The state of a run is that of its last message, in whatever order the messages are read.
func TestRunStates(t *testing.T) {
	failed := &tiebackv1.Outcome{CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: 5, Status: tiebackv1.Status_STATUS_FAILED, KeptStatus: "success"}}}
	deadLetter := &tiebackv1.DeadLetter{Error: "no", Subject: "tb.event.export.create_vendor.7.12", Stage: "export"}
	replay := &tiebackv1.Resolution{DeadLetter: 3, Action: tiebackv1.Action_ACTION_REPLAYED, Subject: "tb.event.export.create_vendor.7.12.3"}
	delivery, event := recorded(t, 1, bus.Delivery, "", &tiebackv1.Delivery{}), recorded(t, 2, bus.Event, "", &tiebackv1.Event{})
	dead, outcome, closed := recorded(t, 3, bus.Dead, "", deadLetter), recorded(t, 4, bus.Outcome, "", failed), recorded(t, 5, bus.Closed, "", failed)
	for name, c := range map[string]struct {
		messages []bus.Message
		want     []string
	}{
		"received":          {[]bus.Message{delivery}, []string{"waiting to be fetched"}},
		"being processed":   {[]bus.Message{delivery, event}, []string{"being processed"}},
		"dead":              {[]bus.Message{event, dead}, []string{"dead-lettered; nothing was reported to Procore"}},
		"dead and reported": {[]bus.Message{event, dead, outcome, closed}, []string{"closed: request detail 5 failed, but Procore keeps the earlier status success; dead-lettered"}},
		"not processed":     {[]bus.Message{event, recorded(t, 5, bus.Closed, "", &tiebackv1.Outcome{SkipReason: "rejected", CloseOuts: failed.CloseOuts})}, []string{"not processed: rejected"}},
		"late": {
			[]bus.Message{event, dead, outcome, closed, recorded(t, 6, bus.Outcome, "late", failed), recorded(t, 7, bus.Closed, "late", failed)},
			[]string{"closed: request detail 5 failed", "closed: request detail 5 failed"},
		},
		"late, not reported": {
			[]bus.Message{event, dead, outcome, closed, recorded(t, 6, bus.Outcome, "late", failed)},
			[]string{"closed: request detail 5 failed", "not reported to Procore yet"},
		},
		"replayed": {
			[]bus.Message{event, dead, outcome, closed, recorded(t, 6, bus.Resolution, "3", replay), recorded(t, 7, bus.Event, "3", &tiebackv1.Event{}), recorded(t, 8, bus.Outcome, "3", failed)},
			[]string{"closed", "not reported to Procore yet"},
		},
	} {
		for range 8 {
			rand.Shuffle(len(c.messages), func(i, j int) { c.messages[i], c.messages[j] = c.messages[j], c.messages[i] })
			runs := TimelineOf(12, c.messages, 0).RunStates()
			for i, want := range c.want {
				if len(runs) != len(c.want) || !strings.Contains(runs[i].Text, want) {
					t.Errorf("%s: %+v, want %q", name, runs, c.want)
				}
			}
		}
	}
}

// The steps of a request that was not processed do not say that it was processed or reported.
func TestStepOfSkippedRequest(t *testing.T) {
	for _, k := range []bus.Kind{bus.Outcome, bus.Closed} {
		for reason, o := range map[string]*tiebackv1.Outcome{
			bus.SkippedOlder: {SkipReason: bus.SkippedOlder},
			"rejected":       {SkipReason: "rejected", CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: 5, KeptStatus: "rejected"}}},
		} {
			if got, want := Steps([]bus.Message{recorded(t, 1, k, "", o)})[0].Text(), "not processed: "+reason; got != want {
				t.Errorf("%s: %q, want %q", k, got, want)
			}
		}
	}
}
