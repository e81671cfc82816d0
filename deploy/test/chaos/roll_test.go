package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// trapped starts a script that has set its trap.
func trapped(t *testing.T, trap string) (*program, chan struct{}) {
	t.Helper()
	p, again := started(t, trap+"; while :; do echo up; sleep 0.01; done")
	for end := time.Now().Add(30 * time.Second); !p.logged("\nup\n"); {
		if time.Now().After(end) {
			t.Fatal("it does not come up")
		}
	}
	return p, again
}

// A retired program ends, stays down, and can be started again.
func TestARetiredProgramStaysDown(t *testing.T) {
	p, again := trapped(t, "trap 'exit 0' TERM")
	if _, err := p.retire(syscall.SIGTERM, grace); err != nil {
		t.Errorf("retire: %v", err)
	}
	if p.running() || len(p.crashed()) != 0 || len(again) > 0 {
		t.Errorf("running %v, crashes %v, starts %d", p.running(), p.crashed(), len(again))
	}
	if err := p.start(t.Context()); err != nil || !p.running() {
		t.Errorf("started again: %v", err)
	}
}

// retire returns an error for an exit code, a signal and a timeout.
func TestABadEndIsTold(t *testing.T) {
	for script, want := range map[string]string{
		"trap 'exit 3' TERM": "exit status 3",
		":":                  "signal: terminated",
		"trap '' TERM":       "did not end within",
	} {
		p, _ := trapped(t, script)
		_, err := p.retire(syscall.SIGTERM, 300*time.Millisecond)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", script, err)
		}
		if p.running() {
			t.Errorf("%s: still running", script)
		}
		var exit *exec.ExitError
		if want == "exit status 3" && !errors.As(err, &exit) {
			t.Errorf("%s: %T", script, err)
		}
	}
}

// Each delivery goes to one instance, and the load balancer never sends it twice.
func TestLoadBalancerSendsEachDeliveryToOneInstance(t *testing.T) {
	d, err := openLoadBalancer(&ports{next: firstPort})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	post := func() int {
		resp, err := http.Post("http://"+d.addr, "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if code := post(); code != http.StatusBadGateway {
		t.Errorf("without an instance: %d", code)
	}
	var instances []string
	answer := http.StatusOK
	for range 2 {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(answer)
		}))
		t.Cleanup(srv.Close)
		instances = append(instances, strings.TrimPrefix(srv.URL, "http://"))
		d.admit(instances[len(instances)-1])
	}
	for range 4 {
		if code := post(); code != http.StatusOK {
			t.Errorf("answered %d", code)
		}
	}
	if d.passed[instances[0]] != 2 || d.passed[instances[1]] != 2 || len(d.unused(instances)) > 0 {
		t.Errorf("passed: %v, unused: %v", d.passed, d.unused(instances))
	}
	d.dismiss(instances[0])
	answer = http.StatusServiceUnavailable
	if code := post(); code != answer || d.refusals() != 2 || d.passed[instances[1]] != 2 {
		t.Errorf("answered %d, refused: %d, passed: %v", code, d.refusals(), d.passed)
	}
	if got := d.unused(append(instances, "127.0.0.1:1")); len(got) != 1 || got[0] != "instance 3 of ingest" {
		t.Errorf("unused: %v", got)
	}
}

// With an older version, each service is upgraded and downgraded. A service that the older version lacks stays new.
func TestTheOldVersionHasWhatItHas(t *testing.T) {
	p := programs{dir: "new", services: []string{"export", "lag-exporter"}, old: &programs{dir: "old", services: []string{"export"}}}
	for at, want := range map[[2]string]string{
		{"export", oldVersion}: "old/services/export", {"export", newVersion}: "new/services/export", {"export", ""}: "new/services/export",
		{"lag-exporter", oldVersion}: "new/services/lag-exporter", {"lag-exporter", newVersion}: "new/services/lag-exporter",
	} {
		if got := p.service(at[0], at[1]); got != want {
			t.Errorf("%v: %s, want %s", at, got, want)
		}
	}
	r := &rolling{cl: &cluster{programs: p}}
	if t2, err := r.replace(t.Context(), "lag-exporter", oldVersion); t2 != nil || err != nil {
		t.Errorf("lag-exporter was replaced by an older version: %v, %v", t2, err)
	}
}

// Findings are printed, and make the verdict fail.
func TestABadEndFailsTheRun(t *testing.T) {
	r := &rolling{cl: &cluster{balancer: &loadBalancer{}}, turns: []turn{{what: "export", drain: time.Second}, {what: "sync", drain: 2 * time.Second, err: errors.New("exit status 3")}}}
	v := &verdict{waits: []wait{{took: 40 * time.Second}, {took: time.Second}}}
	r.check(v)
	var said bytes.Buffer
	r.print(&said, v)
	if v.ok() || len(v.wrong) != 1 || !strings.Contains(v.wrong[0], "exit status 3") {
		t.Errorf("wrong: %v", v.wrong)
	}
	for _, want := range []string{"FAILED", "2 restarts", "1 wrong", "longest drain 2.0 s (sync)", "slowest event 40.0 s, 1 slower than 30s"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("printed %q, want %q in it", said.String(), want)
		}
	}
}
