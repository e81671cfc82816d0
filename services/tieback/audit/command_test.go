package audit

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/tieback/internal/commandtest"
	"github.com/tieback/tieback/services/tieback/status"
	"github.com/tieback/tieback/services/tieback/sweep"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// execute runs a command line that begins with audit or sweep.
func execute(t *testing.T, line string) (code int, out, errs string) {
	root := &cobra.Command{}
	root.AddCommand(Command(), sweep.Command())
	return commandtest.Run(t.Context(), root, line)
}

// fakeProcore sets the environment to a fake Procore that has one hook, no deliveries and these request details.
func fakeProcore(t *testing.T, details func() string) {
	t.Helper()
	commandtest.Settings(t, 7)
	commandtest.Procore(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/hooks"):
			fmt.Fprint(w, `[{"id":1,"destination_url":"https://tieback.example.com/webhooks/procore/7"}]`)
		case strings.HasSuffix(r.URL.Path, "/erp_request_details"):
			fmt.Fprint(w, details())
		default:
			fmt.Fprint(w, `[]`)
		}
	})
}

func TestWrongUsageIsExitCode2(t *testing.T) {
	fakeProcore(t, func() string { return "[]" })
	for line, says := range map[string]string{
		"audit --since yesterday":              "2026-11-25T10:00:00Z",
		"audit --since 1h --until 2h":          "is not before",
		"audit -o yaml":                        "table or json",
		"audit --company 8":                    "not in the companies file",
		"sweep --company 8":                    "not in the companies file",
		"audit --since 2026-01-01 --until -1h": "a duration before now",
	} {
		if code, _, errs := execute(t, line); code != 2 || !strings.Contains(errs, says) {
			t.Errorf("%s: exit code %d, %s", line, code, errs)
		}
	}
}

// An audit reports a request that never arrived, a sweep publishes it, and the next audit reports it as in progress.
func TestSweepPublishesMissedRequest(t *testing.T) {
	created := time.Now().Add(-10 * time.Minute).UTC().Format(time.RFC3339)
	fakeProcore(t, func() string {
		return fmt.Sprintf(`[{"id":5,"erp_request_id":9007199254740993,"status":"in_progress","created_at":%q}]`, created)
	})
	code, out, errs := execute(t, "audit")
	if code != 1 || !strings.Contains(out, "9007199254740993") || !strings.Contains(out, "1 request is NOT accounted for") || !strings.Contains(out, ": 1 ERP request.\n") {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	if code, out, errs = execute(t, "sweep"); code != 0 || !strings.Contains(out, "1 ERP request never arrived; published now: ") || !strings.Contains(out, "[9007199254740993]") {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	if code, out, errs = execute(t, "sweep"); code != 0 || !strings.Contains(out, "every ERP request has arrived") || !strings.Contains(out, "4 calls") {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	code, out, errs = execute(t, "audit --company 7 -o json")
	var r operatorv1.AuditResponse
	if err := protojson.Unmarshal([]byte(out), &r); err != nil || code != 0 || !r.AccountedFor || r.Counts[string(request.InProgress)] != 1 || r.Findings[0].Stage != "fetcher" {
		t.Errorf("exit code %d, %v\n%s%s", code, err, out, errs)
	}
}

func TestOutputHasNoTerminalControlCharacters(t *testing.T) {
	const evil = "a\x1b[2J\nb"
	r := &operatorv1.AuditResponse{Findings: []*operatorv1.AuditFinding{{RequestId: 1, Type: evil, Class: string(request.Missed), Why: evil, Stage: evil}}, Notes: []string{evil}}
	var out strings.Builder
	if err := printReport(&out, r); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "\x1b") || strings.Count(out.String(), `a\u001b[2J b`) != 4 {
		t.Errorf("%s", out.String())
	}
}

// A flipped byte in a stream's file lost 64 of 106 dead letters.
func TestAuditIsIncompleteAfterALoss(t *testing.T) {
	for crashed, says := range map[bool]string{
		true:  "TIEBACK_DEAD has lost 64 messages that it had acknowledged (its last sequence went back from 106 to 42)",
		false: "TIEBACK_DEAD has lost 1 message that it had acknowledged",
	} {
		t.Run(fmt.Sprintf("crashed=%v", crashed), func(t *testing.T) {
			fakeProcore(t, func() string { return "[]" })
			b, leave := commandtest.Embedded(t)
			for n := range int64(106) {
				m := bus.Message{Subject: bus.For(bus.Event, "create_vendor", 7, n+1), Stream: bus.Event.Stream(), Sequence: uint64(n + 1), Data: []byte("x")} //nolint:gosec // a count
				m.RawSubject = m.Subject.String()
				if err := b.DeadLetter(t.Context(), "export", m, errors.New("a mistake")); err != nil {
					t.Fatal(err)
				}
			}
			leave()
			if code, out, errs := execute(t, "audit --since 1s --until 0s"); strings.Contains(out, "LOST") {
				t.Fatalf("before: exit code %d\n%s%s", code, out, errs)
			}
			commandtest.Damage(t, bus.Dead.Stream(), 0.4, crashed)
			for range 2 {
				code, out, errs := execute(t, "audit --since 1h --until 30m")
				if code != 1 || !strings.Contains(out, says) || !strings.Contains(out, bus.LossAction) || !strings.Contains(out, "The audit is INCOMPLETE") || strings.Contains(out, "All requests are accounted for") {
					t.Errorf("exit code %d\n%s%s", code, out, errs)
				}
				code, out, errs = commandtest.Run(t.Context(), status.Command(), "")
				if code != 1 || !strings.Contains(out, says) || !strings.Contains(out, "(tieback losses)") {
					t.Errorf("status: exit code %d\n%s%s", code, out, errs)
				}
			}
		})
	}
}
