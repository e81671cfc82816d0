package setup_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/tieback/tieback/services/console/operator/doctor"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/internal/sitetest"
)

var since = regexp.MustCompile(`(?m)^ +since: "?([0-9TZ:-]+)"?$`)

// A company is worked from when it was connected, by Procore's clock. Later runs keep that.
func TestSetupKeepsWhenTheCompanyWasConnected(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Connect()
	found := since.FindStringSubmatch(s.Text("companies.yaml"))
	if found == nil {
		t.Fatalf("no since: %s", s.Text("companies.yaml"))
	}
	at, err := time.Parse(time.RFC3339, found[1])
	if err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("since %s, %v", found[1], err)
	}
	s.Doctor().Has("since", doctor.OK, found[1])
	s.Expect(0, "Nothing to change.")
	if again := since.FindStringSubmatch(s.Text("companies.yaml")); again == nil || again[1] != found[1] {
		t.Errorf("since was %s, is %v", found[1], again)
	}
	s.Expect(2, "since: must be a date and time with a zone", "--since", "yesterday", "--yes")
	s.Expect(0, "done: change entry in the companies file", "--since", "2126-11-30T08:00:00Z", "--yes")
	s.Doctor().Has("since", doctor.Problem, "no request that is created before 2126-11-30T08:00:00Z is processed")
}
