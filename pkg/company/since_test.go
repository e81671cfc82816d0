package company_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/company"
)

func TestRequestsBeforeSinceAreNotInScope(t *testing.T) {
	with := func(since string) (company.Set, error) {
		return company.Parse([]byte("companies:\n  - {id: 7, client_id: c, client_secret: s, webhook_tokens: [token-of-seven-token], connector: {driver: ledger}, since: " + since + "}\n"))
	}
	at := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
	for _, text := range []string{"2026-11-30T08:00:00Z", `"2026-11-30T08:00:00.7Z"`, "2026-11-30T02:00:00-06:00"} {
		set, err := with(text)
		if err != nil {
			t.Fatal(err)
		}
		if c := set[7]; !c.Since.Equal(at) || !c.InScope(at) || c.InScope(at.Add(-time.Second)) || !c.InScope(time.Time{}) {
			t.Errorf("%s is %v", text, c.Since)
		}
	}
	set, err := with("")
	if err != nil || !set[7].InScope(time.Unix(1, 0)) {
		t.Errorf("without since all requests are in scope: %v", err)
	}
	for _, text := range []string{"2026-11-30", "yesterday", "2026-11-30T08:00:00", "[1]"} {
		if _, err := with(text); err == nil || !strings.Contains(err.Error(), "companies[0]") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
