package prometheus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A real Prometheus loads the rules, scrapes what services export, and each rule fires. Waiting times are shortened. Unlike
// promtool, it scrapes: a target that is down, one that is missing, and counters that begin with the first scrape.
func TestEachAlertFiresInPrometheus(t *testing.T) {
	needs(t, "prometheus")
	t.Parallel()
	eachAlertFires(t, read(t, deploy+"/prometheus/rules.yaml"), &site{services: services(t)})
}

// The same for the chart's rules, of a namespace in a cluster. The Prometheus also scrapes a healthy Tieback in another namespace,
// which has the same company.
func TestEachAlertFiresBesideHealthyNamespace(t *testing.T) {
	needs(t, "prometheus")
	t.Parallel()
	rules := strings.ReplaceAll(read(t, deploy+"/helm/tieback/files/rules.yaml"), "RELEASE_NAMESPACE", "prod")
	eachAlertFires(t, rules, &site{services: services(t), namespace: "prod", healthy: "staging"})
}

func eachAlertFires(t *testing.T, text string, site *site) {
	server := httptest.NewServer(site)
	defer server.Close()
	api := runPrometheus(t, shortened(text), server.URL)

	site.set(well)
	eventually(t, "all services are up", func() error {
		return api.want(fmt.Sprintf("count(up{namespace=%q} == 1)", site.namespace), len(site.services))
	})
	time.Sleep(3 * time.Second) // some evaluations, and a past for offsets
	if early := api.firing(t); len(early) > 0 {
		t.Errorf("these fire although all is well: %v", early)
	}
	want := map[state][]string{}
	for _, r := range rules(t) {
		in := broken
		switch r.id() {
		case "TiebackMetricsAbsent ticket":
			in = blind
		case "TiebackMetricsAbsent page":
			in = silent
		}
		want[in] = append(want[in], r.id())
	}
	for _, s := range []state{broken, blind, silent} {
		site.set(s)
		fired := map[string]bool{}
		missing := func() (ids []string) {
			for _, id := range want[s] {
				if !fired[id] {
					ids = append(ids, id)
				}
			}
			return ids
		}
		for end := time.Now().Add(20 * time.Second); len(missing()) > 0 && time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
			maps.Copy(fired, api.firing(t))
		}
		if others, err := api.query(fmt.Sprintf("ALERTS{namespace!=%q}", site.namespace)); err != nil || len(others) > 0 {
			t.Errorf("state %d: alerts of another namespace: %v, %v", s, others, err)
		}
		if ids := missing(); len(want[s]) == 0 || len(ids) > 0 {
			t.Errorf("state %d: these did not fire: %q", s, ids)
		}
		if s != broken {
			continue
		}
		for _, expr := range expressions(t) { // some errors, such as two matches on the "one" side, need data
			if _, err := api.query(filled(expr)); err != nil {
				t.Errorf("a panel's query %s: %v", expr, err)
			}
		}
	}
}

// id identifies a rule: several rules of an alert differ in severity or symptom.
func (r rule) id() string { return id(r.Alert, r.Labels["severity"], r.Labels["symptom"]) }

func id(alert, severity, symptom string) string {
	return strings.TrimSpace(alert + " " + severity + " " + symptom)
}

// shortened returns the rules with waiting times of a second, and offsets of three.
func shortened(rules string) string {
	rules = regexp.MustCompile(`(?m)^( *for:) .*`).ReplaceAllString(rules, "$1 1s")
	rules = regexp.MustCompile(`(?m)^( *keep_firing_for:) .*`).ReplaceAllString(rules, "$1 1s")
	return regexp.MustCompile(`offset [0-9]+[smhd]`).ReplaceAllString(rules, "offset 3s")
}

// state is what the services export.
type state int

const (
	well   state = iota
	broken       // everything is bad; ingest is down and console is missing
	blind        // lag-exporter exports only that the broker is up
	silent       // lag-exporter exports nothing
)

// site serves the metrics of all services at /<service>, and the list of targets at /targets. With healthy set, the list has a
// second Tieback in a namespace of this name, at /healthy/<service>.
type site struct {
	services           []string
	namespace, healthy string

	mu    sync.Mutex
	state state
	since time.Time
}

func (s *site) set(to state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.since = to, time.Now()
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	state, since := s.state, s.since
	s.mu.Unlock()
	service := strings.TrimPrefix(r.URL.Path, "/")
	company := "Acme Builders"
	if of, ok := strings.CutPrefix(service, "healthy/"); ok {
		service, state, company = of, well, "Acme Sandbox"
	}
	switch {
	case service == "targets":
		s.targets(w, r.Host, state)
	case service == "ingest" && state == broken:
		http.Error(w, "down", http.StatusInternalServerError)
	case service == "lag-exporter" && state == silent:
	case service == "lag-exporter" && state == blind:
		fmt.Fprintln(w, "tieback_broker_up 1")
	case service == "lag-exporter":
		fmt.Fprint(w, exportedBy(company, state == broken, time.Since(since)))
	}
}

func (s *site) targets(w http.ResponseWriter, address string, state state) {
	type target struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	var all []target
	for _, service := range s.services {
		if service != "console" || state == well {
			all = append(all, target{[]string{address}, map[string]string{"service": service, "namespace": s.namespace, "__metrics_path__": "/" + service}})
		}
		if s.healthy != "" {
			all = append(all, target{[]string{address}, map[string]string{"service": service, "namespace": s.healthy, "__metrics_path__": "/healthy/" + service}})
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(all)
}

// exportedBy returns the metrics that the rules use, of all services. Counters grow while all is bad.
func exportedBy(company string, bad bool, elapsed time.Duration) string {
	now := float64(time.Now().Unix())
	steps := 0.0
	if bad {
		steps = elapsed.Seconds()
	}
	choose := func(good, wrong float64) float64 {
		if bad {
			return wrong
		}
		return good
	}
	var b strings.Builder
	put := func(series string, value float64) { fmt.Fprintf(&b, "%s %f\n", series, value) }
	for _, consumer := range []string{"fetcher", "export", "sync", "import", "unlink", "reset", "status-reporter"} {
		put(`tieback_consumer_lag_messages{consumer="`+consumer+`"}`, choose(0, 900))
		put(`tieback_consumer_oldest_seconds{consumer="`+consumer+`"}`, choose(0, 20000))
	}
	put(`tieback_dead_letters_open{cause="erp"}`, choose(0, 30))
	put(`tieback_close_out_seconds_bucket{type="create_vendor",le="51.2"}`, 0)
	put(`tieback_close_out_seconds_bucket{type="create_vendor",le="102.4"}`, 0)
	put(`tieback_close_out_seconds_bucket{type="create_vendor",le="204.8"}`, 10*steps)
	put(`tieback_close_out_seconds_bucket{type="create_vendor",le="+Inf"}`, 10*steps)
	put(`tieback_close_out_seconds_count{type="create_vendor"}`, 10*steps)
	put(`tieback_close_outs_total{company="7",category="export",outcome="success"}`, 10*steps)
	put(`tieback_close_outs_total{company="7",category="export",outcome="refused"}`, 10*steps)
	put(`tieback_deadlines_passed_total{type="create_vendor"}`, 10*steps)
	put(`tieback_sweep_found_total{company="7"}`, 10*steps)
	put(`tieback_sweep_last_success_timestamp_seconds{company="7"}`, now-choose(60, 90000))
	put(`tieback_procore_quota_remaining{company="7",window="hour"}`, choose(3000, 10))
	put(`tieback_procore_unauthorized_total{company="7"}`, 10*steps)
	put(`tieback_company_info{company="7",name="`+company+`"}`, 1)
	put(`tieback_companies_unserved`, choose(0, 1))
	put(`tieback_stream_lost_messages{stream="TIEBACK_DEAD"}`, choose(0, 5))
	put(`tieback_deliveries_total{result="unavailable"}`, 10*steps)
	put(`tieback_broker_up`, choose(1, 0))
	put(`tieback_stream_bytes{stream="TIEBACK_EVENT"}`, choose(100, 800))
	put(`tieback_stream_bytes_limit`, 1000)
	put(`tieback_broker_memory_bytes`, choose(100, 800))
	put(`tieback_broker_memory_bytes_limit`, 1000)
	put(`tieback_stream_oldest_seconds{stream="TIEBACK_EVENT"}`, choose(0, 1e6))
	put(`tieback_stream_retention_seconds{stream="TIEBACK_EVENT"}`, 604800)
	put(`tieback_stream_replicas_offline{stream="TIEBACK_EVENT"}`, choose(0, 1))
	put(`tieback_certificate_expires_timestamp_seconds{use="broker",company=""}`, now+choose(90*86400, 3600))
	backup := now - choose(3600, 60*3600)
	if bad && elapsed > 4*time.Second {
		backup = 0 // another rule: there is none
	}
	put(`tieback_backup_last_success_timestamp_seconds`, backup)
	if bad {
		put(`tieback_trouble_since_timestamp_seconds{company="7",source="erp",reason="no-answer"}`, now-600)
	}
	return b.String()
}

// prometheusAPI is the address of a running Prometheus.
type prometheusAPI string

// runPrometheus starts a Prometheus that evaluates rules and scrapes the targets of a site every second, and stops it when the test ends.
func runPrometheus(t *testing.T, rules, site string) prometheusAPI {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	must(t, l.Close())
	config := fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs:
  - {job_name: tieback, http_sd_configs: [{url: %q, refresh_interval: 1s}]}
`, file(t, "rules.yaml", rules), site+"/targets")
	var log strings.Builder
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "prometheus", "--config.file="+file(t, "prometheus.yaml", config),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = &log, &log
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Prometheus: %s", log.String())
		}
	})
	api := prometheusAPI("http://" + address)
	eventually(t, "Prometheus is ready", func() error { _, err := api.query("1"); return err })
	return api
}

// sample is a sample of an instant vector.
type sample struct {
	Metric map[string]string
	Value  [2]any
}

func (p prometheusAPI) query(expr string) ([]sample, error) {
	resp, err := http.Get(string(p) + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct {
			ResultType string
			Result     json.RawMessage
		}
		Error string
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, errors.New(answer.Error)
	}
	if answer.Data.ResultType != "vector" {
		return nil, nil
	}
	var all []sample
	return all, json.Unmarshal(answer.Data.Result, &all)
}

// want returns an error unless expr has one sample with the value.
func (p prometheusAPI) want(expr string, value int) error {
	all, err := p.query(expr)
	if err == nil && (len(all) != 1 || all[0].Value[1] != fmt.Sprint(value)) {
		err = fmt.Errorf("%s is %v, want %d", expr, all, value)
	}
	return err
}

// firing returns the ids of the rules that fire.
func (p prometheusAPI) firing(t *testing.T) map[string]bool {
	t.Helper()
	all, err := p.query(`ALERTS{alertstate="firing"}`)
	must(t, err)
	ids := map[string]bool{}
	for _, s := range all {
		ids[id(s.Metric["alertname"], s.Metric["severity"], s.Metric["symptom"])] = true
	}
	return ids
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}
