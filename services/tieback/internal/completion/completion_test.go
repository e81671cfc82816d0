package completion

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/tieback/audit"
	"github.com/tieback/tieback/services/tieback/dead"
	"github.com/tieback/tieback/services/tieback/internal/commandtest"
	"github.com/tieback/tieback/services/tieback/trace"
)

const acme = 598134325841112 // a company

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// offered is what a shell is offered after a line, the last word of which is begun.
func offered(t *testing.T, words ...string) []string {
	t.Helper()
	var out strings.Builder
	root := &cobra.Command{Use: "tieback"}
	root.AddCommand(dead.Command(), audit.Command(), trace.Command())
	Into(root)
	root.SetOut(&out)
	root.SetErr(&strings.Builder{})
	root.SetArgs(append([]string{cobra.ShellCompRequestCmd}, words...))
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return lines[:len(lines)-1] // the last is a directive
}

func TestWhatFlagsTakeIsOffered(t *testing.T) {
	commandtest.Settings(t, acme)
	for _, c := range []struct{ line, want string }{
		{"audit --company 5", "598134325841112\tAcme"},
		{"audit -o ", "table"},
		{"dead list --cause erp", "erp"},
		{"dead list --category u", "unlink"},
		{"dead list --type create_v", "create_vendor"},
		{"dead list --company ", "598134325841112\tAcme"},
	} {
		if got := offered(t, strings.Split(c.line, " ")...); !contains(got, c.want) {
			t.Errorf("%q is offered %q, want %q", c.line, got, c.want)
		}
	}
}

func contains(all []string, want string) bool {
	for _, s := range all {
		if s == want {
			return true
		}
	}
	return false
}

// Without settings, or with a broker that is away, nothing is offered, and soon.
func TestNothingIsOfferedWhereNothingIsKnown(t *testing.T) {
	commandtest.Settings(t, acme)
	t.Setenv("TIEBACK_NATS_URL", "nats://127.0.0.1:1")
	began := time.Now()
	if got := offered(t, "dead", "show", ""); len(got) > 0 || time.Since(began) > 2*timeout {
		t.Errorf("after %v %q is offered", time.Since(began), got)
	}
	t.Setenv("TIEBACK_COMPANIES", "nowhere.yaml")
	if got := offered(t, "audit", "--company", ""); len(got) > 0 {
		t.Errorf("%q is offered", got)
	}
}

// Companies, requests and dead letters are those of the tieback run of the data folder.
func TestRunningProcessIsAsked(t *testing.T) {
	commandtest.Settings(t, acme, 7)
	b, leave := commandtest.Embedded(t)
	for seq, request := range []int64{12, 13} {
		s := bus.For(bus.Event, "create_vendor", 7, request)
		e := &tiebackv1.Event{CompanyId: 7, ErpRequestId: request, Type: "create_vendor", RequestedAt: timestamppb.Now(), Payload: []byte(`{}`)}
		if err := b.PublishOnce(t.Context(), s, e); err != nil {
			t.Fatal(err)
		}
		m := bus.Message{Subject: s, RawSubject: s.String(), Stream: bus.Event.Stream(), Sequence: uint64(seq + 1)} //nolint:gosec // 1 or 2
		if err := b.DeadLetter(t.Context(), "export", m, fault.New(fault.Permanent, errors.New("no"))); err != nil {
			t.Fatal(err)
		}
	}
	leave()
	commandtest.Serve(t)
	t.Setenv("TIEBACK_COMPANIES", "nowhere.yaml")
	if got := offered(t, "dead", "show", ""); len(got) != 2 || got[0] != "1\tcreate_vendor, tieback, request 12" {
		t.Errorf("offered are %q", got)
	}
	if got := offered(t, "dead", "replay", "1", ""); len(got) != 1 || !strings.HasPrefix(got[0], "2\t") {
		t.Errorf("after dead letter 1, offered are %q", got)
	}
	if got := offered(t, "dead", "show", "1", ""); len(got) > 0 {
		t.Errorf("show takes one dead letter, and is offered %q", got)
	}
	if got := offered(t, "audit", "--company", ""); !contains(got, "598134325841112\tAcme") || !contains(got, "7\tAcme") {
		t.Errorf("companies: %q", got)
	}
	var got []string
	for range 50 { // until the index has read the streams
		if got = offered(t, "trace", "1"); len(got) == 2 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if len(got) != 2 || !strings.Contains(strings.Join(got, "\n"), "12\tattention, create_vendor") {
		t.Errorf("requests: %q", got)
	}
}
