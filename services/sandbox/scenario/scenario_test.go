package scenario_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/sandbox/scenario"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const company = 7

// newScenario returns a scenario with a minimal ERP and a minimal pipeline.
func newScenario(t *testing.T, cfg scenario.Config, early bool) *scenario.Scenario {
	t.Helper()
	sb := sandbox.New(sandbox.Config{Seed: 1, HourlyLimit: -1, SpikeLimit: -1, DuplicateFraction: 0.1, APIVersion: sandbox.Rotate})
	api := httptest.NewServer(sb.Handler())
	erp := newERP()
	pipe := &pipeline{t: t, sb: sb, erp: erp, api: api.URL, client: api.Client(), early: early, seen: map[int64]bool{}}
	hook := httptest.NewServer(http.HandlerFunc(pipe.receive))
	if err := sb.AddCompany(sandbox.Company{ID: company, ClientID: "c", ClientSecret: "s", WebhookURL: hook.URL, WebhookToken: "hush", StandardCostCodeListID: 907}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- sb.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		hook.Close()
		pipe.wg.Wait()
		api.Close()
	})
	pipe.login()
	cfg.ERPs = map[int64]scenario.ERP{company: erp}
	return scenario.New(sb, cfg)
}

// With a correct pipeline, each event ends as expected.
func TestScenario(t *testing.T) {
	s := newScenario(t, scenario.Config{Scale: 150, Deadline: 20 * time.Second}, false)
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	rep := s.Report()
	for _, e := range rep.Lost {
		t.Errorf("lost: %+v", e)
	}
	for _, e := range rep.Wrong {
		t.Errorf("wrong: %+v", e)
	}
	for _, why := range rep.Skipped {
		t.Errorf("skipped: %s", why)
	}
	pressed := map[string]bool{}
	for _, name := range rep.Types() {
		pressed[name] = true
	}
	for _, row := range catalogue.Table {
		if !pressed[row.Name] {
			t.Errorf("%s was never pressed", row.Name)
		}
	}
	ends := map[scenario.Expectation]int{}
	for _, e := range rep.Events {
		ends[e.Expected]++
	}
	t.Logf("%d events: %v", len(rep.Events), ends)
	if len(rep.Events) < 100 || ends[scenario.Fails] < 5 || ends[scenario.DeadLetter] != 2 {
		t.Errorf("%d events, %v", len(rep.Events), ends)
	}
}

// A success before the external data is reported as wrong.
func TestReportHasEarlySuccess(t *testing.T) {
	s := newScenario(t, scenario.Config{Scale: 1, Deadline: 5 * time.Second}, true)
	_ = s.Run(t.Context()) // it stops early because no record has an origin id
	rep := s.Report()
	found := false
	for _, e := range rep.Wrong {
		found = found || len(e.TooEarly) > 0
	}
	if !found || len(rep.Skipped) == 0 {
		t.Errorf("a success without external data is not reported: %d wrong, skipped %v", len(rep.Wrong), rep.Skipped)
	}
}

// An event that is not closed before its deadline is lost.
func TestReportHasLostEvents(t *testing.T) {
	sb := sandbox.New(sandbox.Config{})
	if err := sb.AddCompany(sandbox.Company{ID: company, ClientID: "c", ClientSecret: "s"}); err != nil {
		t.Fatal(err)
	}
	s := scenario.New(sb, scenario.Config{ERPs: map[int64]scenario.ERP{company: newERP()}, Deadline: time.Millisecond})
	if err := s.Run(t.Context()); err == nil {
		t.Error("the scenario continues although nothing is synced")
	}
	if rep := s.Report(); len(rep.Lost) != 3 || len(rep.Skipped) != 1 {
		t.Errorf("%d lost, skipped %v", len(rep.Lost), fmt.Sprint(rep.Skipped))
	}
}
