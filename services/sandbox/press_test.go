package sandbox_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/services/sandbox"
)

const (
	mine   = 7
	theirs = 8
)

func newSandbox(t testing.TB, cfg sandbox.Config) *sandbox.Sandbox {
	t.Helper()
	if cfg.HourlyLimit == 0 {
		cfg.HourlyLimit, cfg.SpikeLimit = -1, -1
	}
	sb := sandbox.New(cfg)
	for _, id := range []int64{mine, theirs} {
		if err := sb.AddCompany(sandbox.Company{ID: id, ClientID: fmt.Sprint("client", id), ClientSecret: "hush", StandardCostCodeListID: 900 + id}); err != nil {
			t.Fatal(err)
		}
	}
	return sb
}

// smallID matches ids of the published samples. A payload with new ids has none of them.
var smallID = regexp.MustCompile(`"(?:id|[a-z_]*_id)":"?\d{1,9}"?[,}]`)

func TestSampleReplacesAllIDs(t *testing.T) {
	sb := newSandbox(t, sandbox.Config{})
	allowed := []string{`"company_id":7`, `"id":7`, `"id":"7"`, `"standard_cost_code_list_id":907`, `"request_detail_id"`, `"id":2,`, `"created_by"`}
	for _, row := range catalogue.Table {
		t.Run(row.Name, func(t *testing.T) {
			payload, err := sb.Sample(mine, row.Name, nil)
			if err != nil {
				t.Fatal(err)
			}
			delete(payload, "id") // Press writes it
			raw, _ := json.Marshal(payload)
			for _, found := range smallID.FindAllString(string(raw), -1) {
				if !slices.ContainsFunc(allowed, func(a string) bool { return strings.HasPrefix(found, a) }) {
					t.Errorf("has the published %s", found)
				}
			}
		})
	}
}

// A press creates a detail at each path that the catalogue has, and for three types without a path.
func TestPressCreatesDetails(t *testing.T) {
	sb := newSandbox(t, sandbox.Config{})
	also := []string{"create_budget", "update_budget", "create_requisitions"}
	for _, row := range catalogue.Table {
		t.Run(row.Name, func(t *testing.T) {
			id, err := sb.Press(mine, row.Name, nil)
			if err != nil {
				t.Fatal(err)
			}
			req, _ := sb.Request(id)
			want := row.HasDetail() || slices.Contains(also, row.Name)
			if (len(req.Details) > 0) != want {
				t.Errorf("%d details; want any: %v\n%s", len(req.Details), want, req.Payload)
			}
			for _, d := range req.Details {
				if !strings.Contains(string(req.Payload), fmt.Sprintf(`"request_detail_id":%d`, d.ID)) {
					t.Errorf("detail %d is not in the payload", d.ID)
				}
			}
			t.Logf("%s", req.Payload)
		})
	}
}
