package statusreporter

import (
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/company"
)

// Times in messages are in the company's time zone.
func TestZone(t *testing.T) {
	acme := company.New(7, company.Secrets{})
	var err error
	if acme.Zone, err = time.LoadLocation("America/Chicago"); err != nil {
		t.Fatal(err)
	}
	s := &Service{Deps: Deps{Companies: company.Set{7: acme}}}
	at := time.Date(2026, time.December, 1, 1, 30, 0, 0, time.UTC)
	for id, want := range map[int64]string{7: "19:30 CST", 8: "01:30 UTC"} {
		if got := clock(at, s.zone(id), at); got != want {
			t.Errorf("company %d: %s, want %s", id, got, want)
		}
	}
}
