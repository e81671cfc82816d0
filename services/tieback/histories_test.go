package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/console/operator/dead"
	"github.com/tieback/tieback/services/tieback/internal/commandtest"
)

// recorded writes the streams' messages of one request of company 7, as the services do.
type recorded struct {
	*testing.T
	bus     *bus.Bus
	request int64
	event   bus.Message
}

func (h *recorded) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// clicked is the request as far as the event. Without a detail nothing in Procore waits for it.
func (h *recorded) clicked(detail bool) {
	h.must(h.bus.PublishOnce(h.Context(), bus.For(bus.Delivery, "", 7, h.request), &tiebackv1.Delivery{
		CompanyId: 7, ErpRequestId: h.request, EventId: fmt.Sprint(h.request), OccurredAt: timestamppb.Now(), ReceivedAt: timestamppb.Now(),
	}))
	e := &tiebackv1.Event{CompanyId: 7, ErpRequestId: h.request, Type: "create_vendor", RequestedAt: timestamppb.Now(), Payload: []byte(`{"request_data":{}}`)}
	if detail {
		e.Payload = fmt.Appendf(nil, `{"request_data":{"request_detail_id":%d}}`, h.request)
	}
	s := bus.For(bus.Event, "create_vendor", 7, h.request)
	h.must(h.bus.PublishOnce(h.Context(), s, e))
	m, _, err := h.bus.Last(h.Context(), s)
	h.must(err)
	h.event = m
}

// ended is an outcome of a run, and that it was reported to Procore.
func (h *recorded) ended(run string, o *tiebackv1.Outcome) {
	h.outcome(run, o)
	h.must(h.bus.PublishOnce(h.Context(), bus.For(bus.Closed, "create_vendor", 7, h.request).WithRun(run), o))
}

func (h *recorded) outcome(run string, o *tiebackv1.Outcome) {
	o.CompanyId, o.ErpRequestId, o.Type = 7, h.request, "create_vendor"
	h.must(h.bus.PublishOnce(h.Context(), bus.For(bus.Outcome, "create_vendor", 7, h.request).WithRun(run), o))
}

func (h *recorded) dies(sentence string) {
	h.must(h.bus.DeadLetter(h.Context(), "export", h.event, &fault.Error{Class: fault.Transient, Source: fault.FromERP, UserMessage: sentence, Err: errors.New("connection refused")}))
}

// letter is the request's dead letter.
func (h *recorded) letter() uint64 {
	all, err := request.DeadLetters(h.Context(), h.bus, request.Filter{All: true})
	h.must(err)
	for _, l := range all {
		if l.ErpRequestId == h.request {
			return l.ID
		}
	}
	h.Fatalf("request %d has no dead letter", h.request)
	return 0
}

func (h *recorded) desk() *dead.Resolver { return &dead.Resolver{Bus: h.bus, Who: "ann"} }

// replays sends the letter again; it returns the replay's run.
func (h *recorded) replays() string {
	id := h.letter()
	_, err := h.desk().Replay(h.Context(), id, false)
	h.must(err)
	return fmt.Sprint(id)
}

func (h *recorded) closed(s tiebackv1.Status, stands string, messages ...string) *tiebackv1.Outcome {
	return &tiebackv1.Outcome{CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: h.request, Status: s, KeptStatus: stands, Messages: messages}}}
}

func (h *recorded) dead(o *tiebackv1.Outcome) *tiebackv1.Outcome {
	o.DeadLettered = true
	return o
}

// Every command that reads a history says the same of it, and what is so.
func TestAHistoryIsReadAlikeByEveryCommand(t *testing.T) {
	const done, failed = tiebackv1.Status_STATUS_SUCCESS, tiebackv1.Status_STATUS_FAILED
	all := []struct {
		name    string
		history func(*recorded)
		details string        // status of the request detail in Procore; "": it has none
		class   request.Class // of audit and trace
		why     []string      // in audit
		verdict []string      // of trace
		show    []string      // of dead show; nil: there is no letter
		never   string        // of any of them
		open    bool          // a dead letter waits for somebody
	}{
		{
			name: "done", details: "success", class: request.Success, verdict: []string{"closed as success"},
			history: func(h *recorded) { h.clicked(true); h.ended("", h.closed(done, "")) },
		},
		{
			name: "refused", details: "failed", class: request.Failed, why: []string{"The code 12 is taken."}, verdict: []string{"closed as failed"},
			history: func(h *recorded) { h.clicked(true); h.ended("", h.closed(failed, "", "The code 12 is taken.")) },
		},
		{
			name: "given up, and reported", details: "failed", class: request.Dead, why: []string{"Your ERP is away."}, verdict: []string{"closed as failed", "is unresolved"}, open: true,
			show: []string{"\nSHOWN TO THE ACCOUNTANT\nYour ERP is away."},
			history: func(h *recorded) {
				h.clicked(true)
				h.dies("Your ERP is away.")
				h.ended("", h.dead(h.closed(failed, "", "Your ERP is away.")))
			},
		},
		{
			name: "given up, not reported yet", details: "in_progress", class: request.InProgress, verdict: []string{"status-reporter"}, open: true,
			show: []string{"\nNOT SHOWN TO THE ACCOUNTANT YET\nYour ERP is away."}, never: "\nSHOWN",
			history: func(h *recorded) {
				h.clicked(true)
				h.dies("Your ERP is away.")
				h.outcome("", h.dead(h.closed(failed, "", "Your ERP is away.")))
			},
		},
		{
			name: "given up, and no request detail to say so", class: request.Dead, why: []string{"Your ERP is away."}, verdict: []string{"nothing to close"}, open: true,
			show: []string{"\nNOT SHOWN TO THE ACCOUNTANT\nNo request detail", "The message would be: Your ERP is away."}, never: "\nSHOWN",
			history: func(h *recorded) {
				h.clicked(false)
				h.dies("Your ERP is away.")
				h.ended("", h.dead(&tiebackv1.Outcome{}))
			},
		},
		{
			name: "given up, replayed and done", details: "success", class: request.Recovered, why: []string{"was replayed by ann"}, verdict: []string{"the replay of dead letter", "was closed as success"},
			show: []string{"\nSHOWN TO THE ACCOUNTANT\nYour ERP is away.", "replayed by ann"}, never: "closed as failed where",
			history: func(h *recorded) {
				h.clicked(true)
				h.dies("Your ERP is away.")
				h.ended("", h.dead(h.closed(failed, "", "Your ERP is away.")))
				h.replayed(h.closed(done, ""))
			},
		},
		{
			name: "replayed and done, though Procore keeps its first end", details: "failed", class: request.Recovered, why: []string{"was replayed by ann", "at failed"}, verdict: []string{"was closed as success", "Procore keeps request detail"},
			show: []string{"\nSHOWN TO THE ACCOUNTANT\nYour ERP is away."},
			history: func(h *recorded) {
				h.clicked(true)
				h.dies("Your ERP is away.")
				h.ended("", h.dead(h.closed(failed, "", "Your ERP is away.")))
				h.replayed(h.closed(done, "failed"))
			},
		},
		{
			name: "replayed, and refused", details: "failed", class: request.Dead, why: []string{"was replayed by ann"}, verdict: []string{"was closed as failed"},
			show: []string{"\nSHOWN TO THE ACCOUNTANT\nYour ERP is away."},
			history: func(h *recorded) {
				h.clicked(true)
				h.dies("Your ERP is away.")
				h.ended("", h.dead(h.closed(failed, "", "Your ERP is away.")))
				h.replayed(h.closed(failed, "", "The code 12 is taken."))
			},
		},
		{
			name: "done after its deadline", details: "failed", class: request.Recovered, why: []string{"at failed"}, verdict: []string{"the late outcome was closed as success"}, open: true,
			show: []string{"\nSHOWN TO THE ACCOUNTANT\nToo late."},
			history: func(h *recorded) {
				h.clicked(true)
				o := h.dead(h.closed(failed, "", "Too late."))
				o.Expired = true
				h.dies("Too late.")
				h.ended("", o)
				h.ended("late", h.closed(done, "failed"))
			},
		},
		{
			name: "given up, and discarded", details: "failed", class: request.Dead, why: []string{"was discarded by ann"}, verdict: []string{"closed as failed"},
			show: []string{"\nSHOWN TO THE ACCOUNTANT\nYour ERP is away.", "was discarded by ann"},
			history: func(h *recorded) {
				h.clicked(true)
				h.dies("Your ERP is away.")
				h.ended("", h.dead(h.closed(failed, "", "Your ERP is away.")))
				_, err := h.desk().Discard(h.Context(), h.letter(), "made by hand")
				h.must(err)
			},
		},
		{
			name: "given up, and a replay that was interrupted", details: "failed", class: request.Dead, why: []string{"was replayed by bob"}, verdict: []string{"closed as failed", "is unresolved"}, open: true,
			show: []string{"\nSHOWN TO THE ACCOUNTANT\nYour ERP is away.", "was replayed by bob", ", interrupted"},
			history: func(h *recorded) {
				h.clicked(true)
				h.dies("Your ERP is away.")
				h.ended("", h.dead(h.closed(failed, "", "Your ERP is away.")))
				h.decides("bob")
			},
		},
		{
			name: "given up, and a replay under way", details: "failed", class: request.InProgress, verdict: []string{"waiting for export"},
			show: []string{"\nSHOWN TO THE ACCOUNTANT\nYour ERP is away.", "being processed, or waiting for a worker"},
			history: func(h *recorded) {
				h.clicked(true)
				h.dies("Your ERP is away.")
				h.ended("", h.dead(h.closed(failed, "", "Your ERP is away.")))
				h.replays()
			},
		},
		{
			name: "called off, and not processed", details: "rejected", class: request.CalledOff, why: []string{"is rejected in Procore"}, verdict: []string{"not processed", "rejected"}, never: "closed",
			history: func(h *recorded) {
				h.clicked(true)
				h.ended("", &tiebackv1.Outcome{SkipReason: "rejected", CloseOuts: []*tiebackv1.CloseOut{{RequestDetailId: h.request, KeptStatus: "rejected"}}})
			},
		},
	}
	commandtest.Settings(t, 7)
	details := map[int64]string{}
	procoreLists(t, details)
	b, leave := commandtest.Embedded(t)
	letters, open := map[int64]uint64{}, 0
	for i, c := range all {
		h := &recorded{T: t, bus: b, request: int64(i + 1)}
		c.history(h)
		if c.details != "" {
			details[h.request] = c.details
		}
		if c.show != nil {
			letters[h.request] = h.letter()
		}
		if c.open {
			open++
		}
	}
	leave()
	findings := map[int64]*operatorv1.AuditFinding{}
	var report operatorv1.AuditResponse
	parse(t, "audit --all -o json", &report)
	for _, f := range report.Findings {
		findings[f.RequestId] = f
	}
	_, table := tieback(t, "audit")
	if !strings.Contains(table, "The code 12 is taken.") {
		t.Errorf("audit shows no reason of what was refused:\n%s", table)
	}
	if _, text := tieback(t, "status"); !strings.Contains(text, fmt.Sprintf("%d unresolved dead letters", open)) {
		t.Errorf("status does not count %d open dead letters:\n%s", open, text)
	}
	if _, text := tieback(t, "doctor"); !strings.Contains(text, fmt.Sprintf("%d are unresolved", open)) {
		t.Errorf("doctor does not count %d open dead letters:\n%s", open, text)
	}
	_, list := tieback(t, "dead list")
	if !strings.Contains(list, fmt.Sprintf("\n%d dead letters: ", open)) {
		t.Errorf("dead list does not count %d:\n%s", open, list)
	}
	for i, c := range all {
		request := int64(i + 1)
		f := findings[request]
		var s operatorv1.Timeline
		parse(t, fmt.Sprintf("trace %d --company 7 -o json", request), &s)
		show := ""
		if id := letters[request]; id != 0 {
			_, show = tieback(t, fmt.Sprint("dead show ", id))
		}
		if f.GetClass() != string(c.class) || s.Request.GetClass() != string(c.class) {
			t.Errorf("%s: audit reports %s, trace %s; want %s", c.name, f.GetClass(), s.Request.GetClass(), c.class)
			continue
		}
		for where, want := range map[string][]string{f.Why: c.why, s.Verdict: c.verdict, show: c.show} {
			for _, part := range want {
				if !strings.Contains(where, part) {
					t.Errorf("%s: %q lacks %q", c.name, where, part)
				}
			}
		}
		if c.never != "" && strings.Contains(f.Why+s.Verdict+show, c.never) {
			t.Errorf("%s: %q is said, and is not so:\n%s\n%s\n%s", c.name, c.never, f.Why, s.Verdict, show)
		}
		if c.open != strings.Contains(s.Verdict, "is unresolved") {
			t.Errorf("%s: the verdict is %q", c.name, s.Verdict)
		}
	}
}

// decides records that somebody had the letter replayed, whose process stopped before the message was sent.
func (h *recorded) decides(who string) {
	id := fmt.Sprint(h.letter())
	h.must(h.bus.PublishOnce(h.Context(), bus.For(bus.Resolution, "create_vendor", 7, h.request).WithRun(id), &tiebackv1.Resolution{
		CompanyId: 7, ErpRequestId: h.request, Type: "create_vendor", DeadLetter: h.letter(), Action: tiebackv1.Action_ACTION_REPLAYED, Who: who,
		At: timestamppb.Now(), Subject: h.event.Subject.WithRun(id).String(),
	}))
}

// replayed replays the letter as far as it ends in o.
func (h *recorded) replayed(o *tiebackv1.Outcome) { h.ended(h.replays(), o) }

// procoreLists sets the environment to a fake Procore that has one request detail per request, with these statuses.
func procoreLists(t *testing.T, details map[int64]string) {
	t.Helper()
	commandtest.Procore(t, func(w http.ResponseWriter, r *http.Request) {
		items := []map[string]any{}
		if strings.HasSuffix(r.URL.Path, "/erp_request_details") {
			for request, status := range details {
				items = append(items, map[string]any{"id": request, "erp_request_id": request, "status": status, "created_at": time.Now().UTC().Format(time.RFC3339)})
			}
		}
		_ = json.NewEncoder(w).Encode(items)
	})
}

// tieback runs a line of the command.
func tieback(t *testing.T, line string) (code int, out string) {
	t.Helper()
	var stdout, stderr strings.Builder
	cmd := root()
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	cmd.SetArgs(strings.Fields(line))
	if code = codeOf(&stderr, cmd.ExecuteContext(t.Context())); code == 2 {
		t.Fatalf("%s: %s", line, stderr.String())
	}
	return code, stdout.String()
}

func parse(t *testing.T, line string, into proto.Message) {
	t.Helper()
	_, out := tieback(t, line)
	if err := protojson.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}
