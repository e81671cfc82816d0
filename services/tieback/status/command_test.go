package status

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/golden"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/tieback/internal/commandtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// run runs `tieback status` with the arguments in line.
func run(ctx context.Context, line string) (code int, out, errs string) {
	return commandtest.Run(ctx, Command(), line)
}

func TestExitCodes(t *testing.T) {
	commandtest.Settings(t, 7)
	for _, c := range []struct {
		line string
		code int
		says string
	}{
		{"now", 2, "unknown command"},
		{"-o xml", 2, "table or json"},
		{"--company=-7", 2, "positive number"},
		{"--interval 1s", 2, "give -w too"},
		{"-w --interval 200ms", 2, "at least 1s"},
		{"--window 25h", 2, "from 1s to 24h"},
		{"", 0, "Nothing needs attention."},
		{"--company 7", 0, "Acme"},
		{"--company 9", 2, "company 9 is not in the companies file, which has 7"},
	} {
		if code, out, errs := run(t.Context(), c.line); code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%q: exit %d, want %d and %q\n%s%s", c.line, code, c.code, c.says, out, errs)
		}
	}
}

// A mistake in one company's entry is reported, beside the state of the others.
func TestInvalidEntry(t *testing.T) {
	commandtest.Settings(t, 7, 8)
	file := os.Getenv("TIEBACK_COMPANIES")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(raw), "client_id: c8", "cleint_id: c8", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := run(t.Context(), "--company 7")
	if code != 1 || !strings.Contains(out, "1 entry of the companies file has a mistake") || !strings.Contains(out, "Acme") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	if code, _, errs := run(t.Context(), "--company 8"); code != 2 || !strings.Contains(errs, "which has 7; entries with a mistake are left out: run tieback doctor to see what to correct") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// With the embedded broker, tieback run is to be started, not a single service.
func TestEmbeddedBroker(t *testing.T) {
	commandtest.Settings(t, 7)
	b, leave := commandtest.Embedded(t)
	if err := b.PublishOnce(t.Context(), bus.For(bus.Delivery, "", 7, 12), &tiebackv1.Delivery{CompanyId: 7, ErpRequestId: 12, EventId: "01J"}); err != nil {
		t.Fatal(err)
	}
	leave()
	code, out, errs := run(t.Context(), "")
	if want := "tieback run is not running, and 1 message waits for fetcher: start it (tieback run)"; code != 1 || !strings.Contains(out, want) || strings.Contains(out, "no process pulls") {
		t.Errorf("exit %d, want %q\n%s%s", code, want, out, errs)
	}
}

func TestWithoutBroker(t *testing.T) {
	commandtest.Settings(t, 7)
	t.Setenv("TIEBACK_NATS_URL", "nats://127.0.0.1:1")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if code, out, errs := run(ctx, ""); code != 1 || out != "" || !strings.Contains(errs, "no answer from the broker") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}

// If a stream and a bucket are missing, the rest is reported, and they are not created. Missing rate limits are not reported.
func TestPartlyBrokenBroker(t *testing.T) {
	commandtest.Settings(t, 7)
	b := commandtest.Listening(t)
	if code, out, errs := run(t.Context(), ""); code != 0 || !strings.Contains(out, "Nothing needs attention.") || errs != "" {
		t.Errorf("a whole broker: exit %d\n%s%s", code, out, errs)
	}
	for _, lost := range []string{bus.Event.Stream(), "KV_tieback-state"} {
		if err := b.JetStream().DeleteStream(t.Context(), lost); err != nil {
			t.Fatal(err)
		}
	}
	code, out, _ := run(t.Context(), "")
	if code != 1 || !strings.Contains(out, "the broker did not answer: the queue of export") || !strings.Contains(out, "the bucket tieback-state is not available") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if strings.Contains(out, "the queue of fetcher") {
		t.Errorf("what is there is not asked:\n%s", out)
	}
	if _, err := b.JetStream().Stream(t.Context(), bus.Event.Stream()); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the command has created a stream: %v", err)
	}
}

// With -w -o json each report is a line, until the command is stopped, which is not a failure.
func TestWatch(t *testing.T) {
	commandtest.Settings(t, 7)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	looks := &counter{enough: 3, stop: cancel}
	cmd := Command()
	cmd.SetOut(looks)
	cmd.SetArgs([]string{"-w", "--interval", "1s", "-o", "json"})
	if err := cmd.ExecuteContext(ctx); err != nil {
		t.Errorf("it ended with %v", err)
	}
	lines := strings.Split(strings.TrimSpace(looks.String()), "\n")
	if len(lines) < 3 {
		t.Errorf("it looked %d times", len(lines))
	}
	for _, text := range lines {
		var r operatorv1.Overview
		if err := protojson.Unmarshal([]byte(text), &r); err != nil || len(r.Queues) != 7 || len(r.Companies) != 1 {
			t.Errorf("%v: %s", err, text)
		}
	}
}

// counter calls stop after a number of writes.
type counter struct {
	bytes.Buffer
	enough int
	stop   func()
}

func (c *counter) Write(p []byte) (int, error) {
	if c.enough--; c.enough == 0 {
		c.stop()
	}
	return c.Buffer.Write(p)
}

func TestGolden(t *testing.T) {
	r := example()
	var b bytes.Buffer
	f := flags{output: "table"}
	if err := f.print(&b, r); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "testdata/status.golden", b.String())
	b.Reset()
	f.output = "json"
	if err := f.print(&b, r); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "testdata/status.json", b.String())
}

// example is a report with all parts.
func example() *operatorv1.Overview {
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	then := func(after time.Duration) *timestamppb.Timestamp { return timestamppb.New(at.Add(after)) }
	const acme = 598134325841112
	return &operatorv1.Overview{
		At: then(0), Window: durationpb.New(time.Minute), Version: "v1.2.3",
		Queues: []*operatorv1.Queue{
			{Stage: "fetcher", Known: true, Created: true, Consumed: true, ArrivedPerMinute: proto.Float64(61), FinishedPerMinute: proto.Float64(61)},
			{Stage: "export", Known: true, Created: true, Consumed: true, Waiting: 812, InFlight: 40, Redelivered: 3, OldestAge: durationpb.New(724 * time.Second), Oldest: &operatorv1.RequestRef{CompanyId: acme, RequestId: 1001, Type: "create_vendor"}, ArrivedPerMinute: proto.Float64(61), FinishedPerMinute: proto.Float64(0)},
			{Stage: "sync", Known: true, Created: true, Waiting: 2, OldestAge: durationpb.New(30 * time.Second), Oldest: &operatorv1.RequestRef{CompanyId: 7, RequestId: 12, Type: "sync_vendors"}, ArrivedPerMinute: proto.Float64(2)},
			{Stage: "import", Known: true},
			{Stage: "unlink"},
		},
		Companies: []*operatorv1.CompanyState{
			{Id: 7, Name: "Quiet", Succeeded: 2, Served: true},
			{Id: acme, Name: "Acme\x1b[2J", Served: true, Open: 850, AtLeast: true, OldestAge: durationpb.New(724 * time.Second), Retrying: 3, LastFailure: "dial tcp: connection refused", Failed: 1, DeadLetters: 2, WaitingFor: "quota",
				Quota:    &operatorv1.Quota{Hour: &operatorv1.RateWindow{Limit: 3600, Remaining: 3120, Reset_: then(12 * time.Minute)}, Spike: &operatorv1.RateWindow{Limit: 25, Remaining: 25}, BlockedUntil: then(8 * time.Second)},
				Troubles: []*operatorv1.Trouble{{Source: "erp", Reason: "no-answer", Class: "transient", Since: then(-2 * time.Minute), Last: then(-time.Second), Error: "dial tcp: connection refused"}}},
		},
		Notes:  []string{"export has 852 unfinished messages; the companies' numbers count only the first 850 in flight and the first 850 that wait"},
		Unread: []string{"the queue of unlink: context deadline exceeded"},
		Attention: []*operatorv1.Attention{
			{Kind: "broker", Text: "the broker did not answer: the queue of unlink: context deadline exceeded", Action: &operatorv1.Action{Text: "check the broker", Command: "tieback doctor"}},
			{Kind: "queue", Stage: "sync", Text: "2 messages wait for sync, and no process pulls them", Action: &operatorv1.Action{Text: "start the service sync"}, Count: 2},
			{Kind: "erp", CompanyId: acme, Since: then(-2 * time.Minute), Text: "company 598134325841112 (Acme): its ERP has not answered since 2026-11-25 11:58:00 UTC (2m0s): dial tcp: connection refused", Action: &operatorv1.Action{Text: "check the company", Command: "tieback doctor --company 598134325841112"}},
			{Kind: "dead-letters", CompanyId: acme, Text: "company 598134325841112 (Acme) has 2 unresolved dead letters", Action: &operatorv1.Action{Text: "replay or discard them", Page: "/dead?company=598134325841112", Command: "tieback dead list --company 598134325841112"}, Count: 2},
		},
	}
}
