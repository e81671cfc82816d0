package telemetry

import (
	"errors"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/fault"
)

func TestFailuresAreCountedByClassAndCause(t *testing.T) {
	reg := prometheus.NewRegistry()
	stages, err := NewStages(reg)
	if err != nil {
		t.Fatal(err)
	}
	observe := stages.Observer("export", zap.NewNop())
	m := bus.Message{Subject: bus.For(bus.Event, "create_vendor", 7, 1), Stored: time.Now()}
	observe(m, time.Second, "done", nil)
	observe(m, time.Second, "again", errors.New("without a class"))
	observe(m, time.Second, "dead", fault.Permanentf("The vendor has no name."))
	observe(m, time.Second, "throttled", fault.Wait(time.Minute, errors.New("429")))
	observe(m, time.Second, "again", fault.From(fault.FromERP, fault.New(fault.Ambiguous, errors.New("interrupted"))))
	want := `
# HELP tieback_attempt_failures_total Attempts that ended with an error, by stage, the error's class (transient, permanent, throttled, ambiguous) and its cause (ours, company-data, erp, procore, limits).
# TYPE tieback_attempt_failures_total counter
tieback_attempt_failures_total{cause="erp",class="ambiguous",stage="export"} 1
tieback_attempt_failures_total{cause="limits",class="throttled",stage="export"} 1
tieback_attempt_failures_total{cause="tieback",class="transient",stage="export"} 1
tieback_attempt_failures_total{cause="company-data",class="permanent",stage="export"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "tieback_attempt_failures_total"); err != nil {
		t.Error(err)
	}
}

func TestBuildInfo(t *testing.T) {
	defer func(version, commit string) { Version, Commit = version, commit }(Version, Commit)
	Version, Commit = "1.2.3", "abc"
	reg := prometheus.NewRegistry()
	reg.MustRegister(BuildInfo("export"))
	want := `
# HELP tieback_build_info Always 1; its labels have the service, its version, and the commit that it was built from.
# TYPE tieback_build_info gauge
tieback_build_info{revision="abc",service="export",version="1.2.3"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestRevision(t *testing.T) {
	for want, settings := range map[string][]debug.BuildSetting{
		"unknown":     {{Key: "vcs.modified", Value: "true"}},
		"abc":         {{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "false"}},
		"abc+changes": {{Key: "vcs.modified", Value: "true"}, {Key: "vcs.revision", Value: "abc"}},
	} {
		if got := revision(settings); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// A refusal by the ERP is not an error of the pipeline, but the attempt's log line has it.
func TestLogLineHasOutcome(t *testing.T) {
	stages, err := NewStages(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	core, lines := observer.New(zap.InfoLevel)
	observe := stages.Observer("export", zap.New(core))
	for _, c := range []struct {
		end             bus.End
		verdict         string
		err             error
		outcome, reason string
	}{
		{bus.End{Result: bus.ResultSuccess}, "done", nil, "success", ""},
		{bus.End{Result: bus.ResultRefused, Reason: "The code 12 is taken."}, "done", nil, "refused", "The code 12 is taken."},
		{bus.End{}, "done", nil, "", ""},
		{bus.End{Result: bus.ResultRefused}, "again", errors.New("not acked"), "", ""},
		{bus.End{}, "dead", fault.Permanentf("The vendor has no name."), "refused", "The vendor has no name."},
		{bus.End{}, "dead", fault.From(fault.FromERP, errors.New("connection refused")), "failed", ""},
	} {
		observe(bus.Message{Subject: bus.For(bus.Event, "create_vendor", 7, 1), Stored: time.Now(), End: &c.end}, time.Second, c.verdict, c.err)
		fields := lines.TakeAll()[0].ContextMap()
		outcome, _ := fields["outcome"].(string)
		reason, _ := fields["reason"].(string)
		if outcome != c.outcome || reason != c.reason {
			t.Errorf("%s, %v: the line has outcome=%q reason=%q, want %q, %q", c.verdict, c.err, outcome, reason, c.outcome, c.reason)
		}
	}
}

// The version of a module from a proxy is that of the program; a local build has none.
func TestReleased(t *testing.T) {
	const own = "github.com/tieback/tieback"
	for want, info := range map[string]debug.BuildInfo{
		"1.2.3":      {Main: debug.Module{Path: own, Version: "v1.2.3"}},
		"1.2.3-rc.1": {Main: debug.Module{Path: "example.com/erp", Version: "v9.9.9"}, Deps: []*debug.Module{{Path: own, Version: "v1.2.3-rc.1"}}},
	} {
		if got := released(&info); got != want {
			t.Errorf("%+v: %s, want %s", info.Main, got, want)
		}
	}
	for _, version := range []string{"", "(devel)", "v0.0.0", "v0.0.0-20261130174829-63e2318aabbc", "v1.2.4-0.20261130174829-63e2318aabbc", "v1.2.3+dirty"} {
		if got := released(&debug.BuildInfo{Main: debug.Module{Path: own, Version: version}}); got != Unreleased {
			t.Errorf("%q: %s", version, got)
		}
	}
	if got := released(&debug.BuildInfo{Deps: []*debug.Module{{Path: own, Version: "v1.2.3", Replace: &debug.Module{Path: "../"}}}}); got != Unreleased {
		t.Errorf("replaced: %s", got)
	}
}
