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

// stage sets a sandbox, a small ERP and a small pipeline up, all in this process.
func stage(t *testing.T, cfg scenario.Config, cheat bool) (*sandbox.Sandbox, *scenario.Scenario, *smallPipeline) {
	t.Helper()
	sb := sandbox.New(sandbox.Config{Seed: 1, HourlyLimit: -1, SpikeLimit: -1, DuplicateEvery: 10, APIVersion: sandbox.Rotate})
	api := httptest.NewServer(sb.Handler())
	erp := newSmallERP()
	pipe := &smallPipeline{t: t, sb: sb, erp: erp, api: api.URL, client: api.Client(), cheat: cheat, seen: map[int64]bool{}}
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
	return sb, scenario.New(sb, cfg), pipe
}

// A pipeline that does what the guide says brings every event of the play to its end.
func TestPlayWithAPipelineThatDoesItRight(t *testing.T) {
	_, play, _ := stage(t, scenario.Config{Scale: 150, Deadline: 20 * time.Second}, false)
	if err := play.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	rep := play.Report()
	for _, row := range rep.Lost {
		t.Errorf("lost: %+v", row)
	}
	for _, row := range rep.Wrong {
		t.Errorf("wrong: %+v", row)
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
	for _, row := range rep.Rows {
		ends[row.Expected]++
	}
	t.Logf("%d events: %v", len(rep.Rows), ends)
	if len(rep.Rows) < 100 || ends[scenario.Fails] < 5 || ends[scenario.DeadLetter] != 2 {
		t.Errorf("%d events, %v", len(rep.Rows), ends)
	}
}

// A pipeline that says success before the external data is set is caught.
func TestPlayCatchesSuccessTooEarly(t *testing.T) {
	_, play, _ := stage(t, scenario.Config{Scale: 1, Deadline: 5 * time.Second}, true)
	_ = play.Run(t.Context()) // it ends early: nothing got an origin id
	rep := play.Report()
	found := false
	for _, row := range rep.Wrong {
		found = found || len(row.TooEarly) > 0
	}
	if !found || len(rep.Skipped) == 0 {
		t.Errorf("a success without external data went unnoticed: %d wrong, skipped %v", len(rep.Wrong), rep.Skipped)
	}
}

// Events that nobody works are lost, not waited for.
func TestPlayReportsTheLost(t *testing.T) {
	sb := sandbox.New(sandbox.Config{})
	if err := sb.AddCompany(sandbox.Company{ID: company, ClientID: "c", ClientSecret: "s"}); err != nil {
		t.Fatal(err)
	}
	play := scenario.New(sb, scenario.Config{ERPs: map[int64]scenario.ERP{company: newSmallERP()}, Deadline: time.Millisecond})
	if err := play.Run(t.Context()); err == nil {
		t.Error("the play went on with nothing synced")
	}
	if rep := play.Report(); len(rep.Lost) != 3 || len(rep.Skipped) != 1 {
		t.Errorf("%d lost, skipped %v", len(rep.Lost), fmt.Sprint(rep.Skipped))
	}
}
