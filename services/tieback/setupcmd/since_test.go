package setupcmd

import (
	"regexp"
	"testing"
	"time"

	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/doctor"
)

var since = regexp.MustCompile(`(?m)^ +since: "?([0-9TZ:-]+)"?$`)

// A company is worked from when it was connected, by Procore's clock. Later runs keep that.
func TestSetupKeepsWhenTheCompanyWasConnected(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.connect()
	found := since.FindStringSubmatch(w.text("companies.yaml"))
	if found == nil {
		t.Fatalf("no since: %s", w.text("companies.yaml"))
	}
	at, err := time.Parse(time.RFC3339, found[1])
	if err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("since %s, %v", found[1], err)
	}
	w.doctor().has("since", doctor.OK, found[1])
	w.does(0, "Nothing to change.")
	if again := since.FindStringSubmatch(w.text("companies.yaml")); again == nil || again[1] != found[1] {
		t.Errorf("since was %s, is %v", found[1], again)
	}
	w.does(2, "since: must be a date and time with a zone", "--since", "yesterday", "--yes")
	w.does(0, "done: change entry in the companies file", "--since", "2126-11-30T08:00:00Z", "--yes")
	w.doctor().has("since", doctor.Problem, "nothing that is clicked before 2126-11-30T08:00:00Z is worked")
}
