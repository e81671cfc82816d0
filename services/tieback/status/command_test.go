package status

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	"github.com/tieback/tieback/pkg/golden"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/tieback/internal/commandtest"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // what the golden files show
	goleak.VerifyTestMain(m)
}

// execute runs a line of `tieback status`.
func run(ctx context.Context, line string) (code int, out, errs string) {
	return commandtest.Run(ctx, Command(), ErrFailed, line)
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
		{"-w --interval 1ms", 2, "200ms at least"},
		{"", 0, "Nothing needs a person."},
		{"--company 7", 0, "Acme"},
		{"--company 9", 2, "--company 9: is not in the companies file, which has 7"},
	} {
		if code, out, errs := run(t.Context(), c.line); code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%q: exit %d, want %d and %q\n%s%s", c.line, code, c.code, c.says, out, errs)
		}
	}
}

// One company's mistake keeps nobody from looking after the others, and is told.
func TestBesideAnEntryWithAMistake(t *testing.T) {
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
	if code, _, errs := run(t.Context(), "--company 8"); code != 2 || !strings.Contains(errs, "which has 7; entries with a mistake are left out: tieback doctor says what to correct") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// With the embedded broker nothing can be at work: it is tieback run that is to be started, no stop.
func TestTheEmbeddedBrokerOfAStoppedRun(t *testing.T) {
	commandtest.Settings(t, 7)
	b, leave := commandtest.Embedded(t)
	if err := b.PublishOnce(t.Context(), bus.For(bus.Delivery, "", 7, 12), &tiebackv1.Delivery{CompanyId: 7, ErpRequestId: 12, EventId: "01J"}); err != nil {
		t.Fatal(err)
	}
	leave()
	code, out, errs := run(t.Context(), "")
	if want := "tieback run is not running: 1 message waits for fetcher, and is worked when it runs"; code != 1 || !strings.Contains(out, want) || strings.Contains(out, "nobody takes") {
		t.Errorf("exit %d, want %q\n%s%s", code, want, out, errs)
	}
}

// A broker that nobody reaches is said so, with exit code 1; nothing of ours is made meanwhile.
func TestWithoutABroker(t *testing.T) {
	commandtest.Settings(t, 7)
	t.Setenv("TIEBACK_NATS_URL", "nats://127.0.0.1:1")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if code, out, errs := run(ctx, ""); code != 1 || out != "" || !strings.Contains(errs, "no answer from the broker") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}

// Of a broker that has lost a part the rest is told, soon, and nothing is made in its place. That
// nobody shares Procore's limits is no trouble.
func TestABrokerThatIsPartlyBroken(t *testing.T) {
	commandtest.Settings(t, 7)
	b := commandtest.Listening(t)
	if code, out, errs := run(t.Context(), ""); code != 0 || !strings.Contains(out, "Nothing needs a person.") || errs != "" {
		t.Errorf("a whole broker: exit %d\n%s%s", code, out, errs)
	}
	for _, lost := range []string{bus.Event.Stream(), "KV_tieback-state"} {
		if err := b.JetStream().DeleteStream(t.Context(), lost); err != nil {
			t.Fatal(err)
		}
	}
	code, out, _ := run(t.Context(), "")
	if code != 1 || !strings.Contains(out, "the broker does not answer for the queue of export") || !strings.Contains(out, "the bucket tieback-state is not to be had") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if strings.Contains(out, "does not answer for the queue of fetcher") {
		t.Errorf("what is there is not asked:\n%s", out)
	}
	if _, err := b.JetStream().Stream(t.Context(), bus.Event.Stream()); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("who only looks has made a stream: %v", err)
	}
}

// With -w -o json each look is a line, until it is stopped; that is no failure.
func TestItLooksUntilItIsStopped(t *testing.T) {
	commandtest.Settings(t, 7)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	looks := &counter{enough: 3, stop: cancel}
	cmd := Command()
	cmd.SetOut(looks)
	cmd.SetArgs([]string{"-w", "--interval", "200ms", "-o", "json"})
	if err := cmd.ExecuteContext(ctx); err != nil {
		t.Errorf("it ended with %v", err)
	}
	lines := strings.Split(strings.TrimSpace(looks.String()), "\n")
	if len(lines) < 3 {
		t.Errorf("it looked %d times", len(lines))
	}
	for _, text := range lines {
		var r Report
		if err := json.Unmarshal([]byte(text), &r); err != nil || len(r.Queues) != 7 || len(r.Companies) != 1 {
			t.Errorf("%v: %s", err, text)
		}
	}
}

// counter stops whoever writes to it when it was written to often enough.
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

// What each line looks like, and each field of the JSON is called: the files change only on purpose.
func TestGolden(t *testing.T) {
	r := example()
	var b bytes.Buffer
	f := flags{output: "table"}
	if err := f.show(&b, r); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "testdata/status.golden", b.String())
	b.Reset()
	f.output = "json"
	if err := f.show(&b, r); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "testdata/status.json", b.String())
}

// example has something of everything.
func example() Report {
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	f := func(v float64) *float64 { return &v }
	reset, blocked := at.Add(12*time.Minute), at.Add(8*time.Second)
	return Report{
		At: at, Window: 60, Losses: []bus.Loss{{Stream: "TIEBACK_DEAD", Missing: 64, Why: "its last sequence was 106, and went back to 42"}},
		Queues: []Queue{
			{Stop: "fetcher", Known: true, Made: true, Taken: true, In: f(61), Finished: f(61)},
			{Stop: "export", Known: true, Made: true, Taken: true, Waiting: 812, Out: 40, Again: 3, Oldest: f(724), Of: &Event{Company: 598134325841112, Request: 1001, Type: "create_vendor"}, In: f(61), Finished: f(0)},
			{Stop: "sync", Known: true, Made: true, Waiting: 2, Oldest: f(30), Of: &Event{Company: 7, Request: 12, Type: "sync_vendors"}, In: f(2)},
			{Stop: "import", Known: true},
			{Stop: "unlink"},
		},
		Companies: []Company{
			{ID: 7, Name: "Quiet", Succeeded: 2, Troubles: []Trouble{}},
			{ID: 598134325841112, Name: "Acme\x1b[2J", Unfinished: 850, AtLeast: true, Oldest: f(724), Retrying: 3, LastFailure: "dial tcp: connection refused", Failed: 1, Dead: 2,
				Quota:    &Quota{Hour: &Window{Limit: 3600, Left: 3120, Reset: &reset}, Spike: &Window{Limit: 25, Left: 25}, Blocked: &blocked},
				Troubles: []Trouble{{Source: fault.FromERP, Reason: fault.NoAnswer, Class: "transient", Since: at.Add(-2 * time.Minute), Last: at.Add(-time.Second), Error: "dial tcp: connection refused"}}},
		},
		Notes:   []string{"of the 852 unfinished messages at export the companies' numbers count the first 850"},
		Unasked: []string{"the queue of unlink: context deadline exceeded"},
		Needs: []string{"the broker does not answer for the queue of unlink: context deadline exceeded", "nobody takes the 2 messages that wait for sync: start it", "company 598134325841112 (Acme): its ERP has not answered since 2026-11-25 11:58:00 (2m0s): dial tcp: connection refused: tieback doctor --company 598134325841112",
			"2 dead letters wait for somebody: tieback dead list"},
	}
}
