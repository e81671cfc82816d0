package prometheus

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/tieback/tieback/pkg/bus/topology"
)

type rule struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	var f struct {
		Groups []struct{ Rules []rule }
	}
	if err := yaml.Unmarshal([]byte(read(t, deploy+"/prometheus/rules.yaml")), &f); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range f.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("no rules")
	}
	return all
}

// runbooks returns the text of each runbook by alert.
func runbooks(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(deploy + "/runbooks/*.md")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no runbooks: %v", err)
	}
	all := map[string]string{}
	for _, path := range paths {
		all[strings.TrimSuffix(filepath.Base(path), ".md")] = read(t, path)
	}
	return all
}

// An alert has a severity, a summary, the first thing to do, and a link to its runbook.
func TestAlertsHaveRunbooks(t *testing.T) {
	books := runbooks(t)
	for _, r := range rules(t) {
		if s := r.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s has the severity %q; want page or ticket", r.Alert, s)
		}
		if s := r.Annotations["summary"]; s == "" || len(s) > 250 {
			t.Errorf("%s: the summary must be one line: %q", r.Alert, s)
		}
		if !strings.Contains(r.Annotations["description"], "First: ") {
			t.Errorf("%s does not say what to do first", r.Alert)
		}
		want := fmt.Sprintf("https://github.com/tieback/tieback/blob/main/deploy/runbooks/%s.md", r.Alert)
		if r.Annotations["runbook_url"] != want || books[r.Alert] == "" {
			t.Errorf("%s: runbook %q; want %s, and that file", r.Alert, r.Annotations["runbook_url"], want)
		}
	}
}

// aggregation matches an aggregation of PromQL, except topk and bottomk, which keep all labels. The first group has its labels.
var aggregation = regexp.MustCompile(`\b(?:sum|min|max|avg|count|group)\b(?: by \(([^)]*)\))? ?\(`)

// byNamespace reports whether an aggregation, as matched, keeps the namespace.
func byNamespace(match []string) bool {
	return slices.Contains(strings.Split(match[1], ", "), "namespace")
}

// No rule aggregates several Tiebacks that one Prometheus scrapes, and each alert says where it is.
func TestAlertsAreByNamespace(t *testing.T) {
	found := 0
	for _, r := range rules(t) {
		for _, m := range aggregation.FindAllStringSubmatch(r.Expr, -1) {
			if found++; !byNamespace(m) {
				t.Errorf("%s aggregates all namespaces: %s", r.id(), m[0])
			}
		}
		if !strings.HasPrefix(r.Annotations["summary"], "{{ with $labels.namespace }}{{ . }}: {{ end }}") {
			t.Errorf("the summary of %s does not begin with the namespace: %s", r.id(), r.Annotations["summary"])
		}
		if text := r.Annotations["description"]; strings.Count(text, "kubectl") != strings.Count(text, "kubectl{{ with $labels.namespace }} -n {{ . }}{{ end }} ") {
			t.Errorf("a command of %s does not name the namespace: %s", r.id(), text)
		}
	}
	if found < 40 {
		t.Errorf("only %d aggregations found", found)
	}
}

// Alerts of two namespaces are notified apart, and one does not inhibit another's.
func TestAlertmanagerIsByNamespace(t *testing.T) {
	var config struct {
		Route struct {
			GroupBy []string `yaml:"group_by"`
		}
		InhibitRules []struct{ Equal []string } `yaml:"inhibit_rules"`
	}
	if err := yaml.Unmarshal([]byte(read(t, deploy+"/alertmanager/alertmanager.yaml")), &config); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(config.Route.GroupBy, "namespace") {
		t.Errorf("alerts are grouped by %v", config.Route.GroupBy)
	}
	for i, r := range config.InhibitRules {
		if !slices.Contains(r.Equal, "namespace") {
			t.Errorf("inhibit rule %d applies to all namespaces: equal: %v", i, r.Equal)
		}
	}
	if len(config.InhibitRules) == 0 {
		t.Error("no inhibit rules")
	}
}

// Each runbook has an alert, and all have the same parts.
func TestRunbooksHaveAlerts(t *testing.T) {
	all := rules(t)
	for alert, text := range runbooks(t) {
		if !slices.ContainsFunc(all, func(r rule) bool { return r.Alert == alert }) {
			t.Errorf("%s.md has no alert", alert)
		}
		if !strings.HasPrefix(text, "# "+alert+"\n") {
			t.Errorf("%s.md does not begin with its name", alert)
		}
		for _, part := range []string{"## What it means", "## Look", "## Do", "## Stop worrying"} {
			if !strings.Contains(text, "\n"+part+"\n") {
				t.Errorf("%s.md has no part %q", alert, part)
			}
		}
		if n := strings.Count(text, "\n"); n > 70 {
			t.Errorf("%s.md has %d lines: more than a page", alert, n)
		}
	}
}

// The commands of kubectl in the runbooks are for the namespace that the alert names.
func TestRunbooksNameNamespace(t *testing.T) {
	found := 0
	for alert, text := range runbooks(t) {
		for _, m := range regexp.MustCompile(`kubectl [^`+"`\n"+`]*`).FindAllString(text, -1) {
			if found++; !strings.HasPrefix(m, "kubectl -n NAMESPACE ") && m != "kubectl delete node NODE" {
				t.Errorf("%s.md: %s", alert, m)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d commands found", found)
	}
}

// The panels that the runbooks name exist.
func TestRunbooksNamePanels(t *testing.T) {
	var titles []string
	for _, d := range dashboards(t) {
		for _, p := range d.Panels {
			titles = append(titles, p.Title)
		}
	}
	found := 0
	for alert, text := range runbooks(t) {
		for _, line := range regexp.MustCompile(`(?m)^Dashboard \*.*$`).FindAllString(text, -1) {
			for _, m := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(line, -1) {
				if found++; !slices.Contains(titles, m[1]) {
					t.Errorf("%s.md names the panel %q, which does not exist", alert, m[1])
				}
			}
		}
	}
	if found < 4 {
		t.Errorf("only %d panels found", found)
	}
}

// The commands in the runbooks exist.
func TestCommandsInRunbooksExist(t *testing.T) {
	var source strings.Builder
	paths, err := filepath.Glob(deploy + "/../services/tieback/*/*.go")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no commands: %v", err)
	}
	for _, path := range append(paths, deploy+"/../services/tieback/main.go") {
		source.WriteString(read(t, path))
	}
	command := regexp.MustCompile("(?m)(?:^|`|First: |then )tieback ([a-z]+)(?: (list|show|replay|edit|discard|rebuild))?")
	texts := runbooks(t)
	texts["rules"] = read(t, deploy+"/prometheus/rules.yaml")
	seen := 0
	for where, text := range texts {
		for _, m := range command.FindAllStringSubmatch(text, -1) {
			for _, word := range m[1:] {
				if word != "" && !regexp.MustCompile(`Use:\s+["\x60]`+word+`\b`).MatchString(source.String()) {
					t.Errorf("%s names %q, which is no command", where, m[0])
				}
			}
			seen++
		}
	}
	if seen < 20 {
		t.Errorf("only %d commands found", seen)
	}
}

func TestAlertsAreTested(t *testing.T) {
	tests := read(t, deploy+"/prometheus/rules_test.yaml") + read(t, deploy+"/prometheus/rules_days_test.yaml")
	for _, r := range rules(t) {
		if !strings.Contains(tests, "summary: "+r.Alert) && !strings.Contains(tests, "alertname: "+r.Alert+"\n") {
			t.Errorf("%s is not tested", r.Alert)
		}
	}
}

// The alerts for missing metrics name every consumer and every service.
func TestAbsentMetricsAlertNamesAll(t *testing.T) {
	text := read(t, deploy+"/prometheus/rules.yaml")
	var want []string
	for _, d := range topology.Durables() {
		want = append(want, d.Name)
	}
	if got := named(text, `absent\(tieback_consumer_lag_messages\{consumer="([a-z-]+)"\}\)`); !slices.Equal(got, sorted(want)) {
		t.Errorf("the rules name the consumers %v, want %v", got, want)
	}
	if got, want := named(text, `absent\(up\{service="([a-z-]+)"\}\)`), services(t); !slices.Equal(got, want) {
		t.Errorf("the rules name the services %v, want %v", got, want)
	}
	down := regexp.MustCompile(`up\{service=~"([a-z|-]+)"\}`).FindStringSubmatch(text)
	if got, want := sorted(strings.Split(down[1], "|")), sorted(append(services(t), "tieback")); !slices.Equal(got, want) {
		t.Errorf("the rules for services that are down name %v, want %v", got, want)
	}
}

func TestScrapeConfigNamesEveryService(t *testing.T) {
	got := named(read(t, deploy+"/prometheus/prometheus.yaml"), `(?m)^ +- ([a-z-]+):9090$`)
	if want := services(t); !slices.Equal(got, want) {
		t.Errorf("prometheus.yaml scrapes %v, want %v", got, want)
	}
}

// services returns the services with an admin port: all but the provisioner, which ends, and the sandbox.
func services(t *testing.T) []string {
	t.Helper()
	folders, err := filepath.Glob(deploy + "/../services/*/cmd/*")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range folders {
		if name := filepath.Base(f); name != "provisioner" && name != "sandbox" {
			all = append(all, name)
		}
	}
	return sorted(all)
}

func named(text, pattern string) []string {
	var all []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return sorted(all)
}

func sorted(all []string) []string {
	slices.Sort(all)
	return slices.Compact(all)
}
