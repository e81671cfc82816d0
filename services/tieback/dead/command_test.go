package dead

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/tieback/internal/commandtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// execute runs a line of `tieback dead`.
func execute(t *testing.T, line string) (code int, out, errs string) {
	return commandtest.Run(t.Context(), Command(), line)
}

// settings sets the environment: one company, no editor.
func settings(t *testing.T) {
	t.Helper()
	commandtest.Settings(t, 7)
	t.Setenv("VISUAL", "")
	t.Setenv("EDITOR", "")
}

// deadLettered publishes a dead letter whose error and payload have terminal control characters.
func deadLettered(t *testing.T) {
	t.Helper()
	b, leave := commandtest.Embedded(t)
	defer leave()
	s := bus.For(bus.Event, "create_vendor", 7, 12)
	data, err := proto.Marshal(&tiebackv1.Event{CompanyId: 7, ErpRequestId: 12, Type: "create_vendor", Payload: []byte("{\"id\":12,\"request_data\":{\"name\":\"\u009b2J\"}}")})
	if err != nil {
		t.Fatal(err)
	}
	cause := fault.New(fault.Permanent, errors.New("line one\x1b[2J\nline two\u202e"))
	if err := b.DeadLetter(t.Context(), "export", bus.Message{Subject: s, RawSubject: s.String(), Data: data, Stream: "TIEBACK_EVENT", Sequence: 1}, cause); err != nil {
		t.Fatal(err)
	}
}

func TestExitCodes(t *testing.T) {
	settings(t)
	deadLettered(t)
	for _, c := range []struct {
		line string
		code int
		want string
	}{
		{"", 2, "list, show, replay, discard or edit"},
		{"list", 0, "1 dead letter: 1 tieback."},
		{"list 1", 2, "unknown command"},
		{"list --company 8", 0, "No dead letters."},
		{"list --company 0", 2, "positive number"},
		{"list --cause bad-luck", 2, "must be one of"},
		{"list --type create_spaceship", 2, "not an event type"},
		{"list --since yesterday", 2, "a duration before now"},
		{"list -o xml", 2, "table or json"},
		{"show", 2, "give the id of a dead letter: tieback dead show 12 (tieback dead list shows the ids)"},
		{"show 1 2", 2, "one dead letter at a time"},
		{"edit", 2, "tieback dead edit 12"},
		{"show one", 2, "not the id of a dead letter"},
		{"show 99", 1, "there is no dead letter 99: the list of dead letters has the ids"},
		{"replay", 2, "by their ids or by filters"},
		{"replay 1 --cause tieback", 2, "by their ids or by filters"},
		{"replay --cause tieback", 2, "--yes"},
		{"replay 1 --wait", 2, "--wait"},
		{"replay 99", 1, "no dead letter 99"},
		{"replay 1 --as", 2, "as"},
		{"discard 1", 2, "--reason is missing"},
		{"edit 1", 2, "neither $VISUAL nor $EDITOR"},
		{"edit 1 --file nowhere", 2, "--yes"},
		{"edit 1 --yes --file nowhere", 1, "nowhere"},
	} {
		if code, out, errs := execute(t, c.line); code != c.code || !strings.Contains(out+errs, c.want) {
			t.Errorf("%q: exit %d, want %d and %q\n%s%s", c.line, code, c.code, c.want, out, errs)
		}
	}
}

// Text from tenants and ERPs is escaped.
func TestOutputHasNoTerminalControlCharacters(t *testing.T) {
	settings(t)
	deadLettered(t)
	for _, line := range []string{"list", "show 1"} {
		code, out, errs := execute(t, line)
		if strings.ContainsAny(out+errs, "\x1b\u009b\u202e") || code != 0 || !strings.Contains(out, `line one\u001b[2J`) {
			t.Errorf("%s: exit %d, %q", line, code, out+errs)
		}
	}
	if _, out, _ := execute(t, "list"); !strings.Contains(out, `line one\u001b[2J line two`) {
		t.Errorf("the error takes more than one line:\n%s", out)
	}
}

// The editor opens a temporary file. If the text is refused, the file is kept.
func TestEditorFileIsKeptIfTextIsRefused(t *testing.T) {
	settings(t)
	deadLettered(t)
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("EDITOR", `sed -i s/12/13/`)
	code, _, errs := execute(t, "edit 1 --yes")
	if code != 1 || !strings.Contains(errs, "its id is 13") || !strings.Contains(errs, "correct it and give it with --file") {
		t.Errorf("another request: exit %d, %s", code, errs)
	}
	left, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "tieback-dead-letter-1-*.json"))
	if err != nil || len(left) != 1 || !strings.Contains(errs, left[0]) {
		t.Errorf("kept are %v, %v", left, err)
	}
	t.Setenv("EDITOR", "true")
	if code, out, errs := execute(t, "edit 1 --yes"); code != 0 || !strings.Contains(out, "nothing is sent") {
		t.Errorf("no change: exit %d, %s%s", code, out, errs)
	}
	t.Setenv("EDITOR", `sed -i s/name/nom/`)
	if code, out, errs := execute(t, "edit 1 --yes --as ann"); code != 0 || !strings.Contains(out, `+    "nom"`) || !strings.Contains(out, "replayed, run 1") {
		t.Errorf("a change: exit %d, %s%s", code, out, errs)
	}
	if left, _ := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "tieback-dead-letter-1-*.json")); len(left) != 1 {
		t.Errorf("files of accepted or empty edits are left: %v", left)
	}
	if code, _, errs := execute(t, "replay 1 --as bob"); code != 1 || !strings.Contains(errs, "was edited and replayed by ann") {
		t.Errorf("once more: exit %d, %s", code, errs)
	}
}

// Two brokers would corrupt the data folder.
func TestEmbeddedBrokerInUse(t *testing.T) {
	settings(t)
	_, leave := commandtest.Embedded(t)
	defer leave()
	if code, _, errs := execute(t, "list"); code != 1 || !strings.Contains(errs, "Stop tieback run first") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// The run, the last token of a subject, is not validated by the broker.
func TestRunHasNoTerminalControlCharacters(t *testing.T) {
	d := &operatorv1.GetDeadLetterResponse{DeadLetter: &operatorv1.DeadLetter{}, History: []*operatorv1.Step{{Run: "\x1b[2J", Kind: "event"}}, Runs: []*operatorv1.RunState{{Run: "\x1b[2J", Text: "\x1b[2J"}}}
	var out strings.Builder
	if err := printDetail(&out, d); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("%q", out.String())
	}
}
