package prometheus

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"go.yaml.in/yaml/v3"
)

// dashboard has the fields of Grafana's model that the tests check.
type dashboard struct {
	UID         string
	Title       string
	Panels      []panel
	Annotations struct{ List []target }
	Templating  struct {
		List []struct{ Name, Type string }
	}
	Links []struct{ Title, URL string }
}

type panel struct {
	ID          int
	Title       string
	Type        string
	Description string
	Datasource  struct{ UID string }
	Targets     []target
	GridPos     struct{ X, Y, W, H int }
}

type target struct {
	Expr       string
	Legend     string `json:"legendFormat"`
	Datasource struct{ UID string }
}

func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	paths, err := filepath.Glob(deploy + "/grafana/dashboards/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	all := map[string]dashboard{}
	for _, path := range paths {
		var d dashboard
		if err := json.Unmarshal([]byte(read(t, path)), &d); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if d.UID+".json" != filepath.Base(path) {
			t.Errorf("%s has the uid %s", path, d.UID)
		}
		all[d.UID] = d
	}
	return all
}

// expressions returns the expressions of all panels.
func expressions(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, d := range dashboards(t) {
		for _, a := range d.Annotations.List {
			all = append(all, a.Expr)
		}
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				all = append(all, target.Expr)
			}
		}
	}
	return all
}

func TestPanels(t *testing.T) {
	var provisioned struct{ Datasources []struct{ UID string } }
	if err := yaml.Unmarshal([]byte(read(t, deploy+"/grafana/provisioning/datasources/prometheus.yaml")), &provisioned); err != nil {
		t.Fatal(err)
	}
	if uid := provisioned.Datasources[0].UID; uid != "prometheus" {
		t.Errorf("the provisioned source is %s; the dashboards' variable begins with prometheus", uid)
	}
	const uid = "${datasource}"
	for name, d := range dashboards(t) {
		ids := map[int]bool{}
		for i, p := range d.Panels {
			if ids[p.ID] || p.Title == "" || p.Description == "" || p.Datasource.UID != uid || len(p.Targets) == 0 {
				t.Errorf("%s: panel %d %q lacks a field, or its id or source is wrong", name, p.ID, p.Title)
			}
			ids[p.ID] = true
			for _, target := range p.Targets {
				if target.Expr == "" || target.Datasource.UID != uid {
					t.Errorf("%s: %q has no expression, or another source", name, p.Title)
				}
			}
			if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W*p.GridPos.H == 0 {
				t.Errorf("%s: %q is outside of the grid", name, p.Title)
			}
			for _, other := range d.Panels[:i] {
				if overlap(p, other) {
					t.Errorf("%s: %q overlaps %q", name, p.Title, other.Title)
				}
			}
		}
	}
}

// Every panel follows the variables: the source, the namespace, and the company where its metrics have one.
func TestPanelsUseVariables(t *testing.T) {
	have := ours(t)
	selector := regexp.MustCompile(`\b(tieback_[a-z_]+|up|ALERTS)(\{[^}]*\})?`)
	for name, d := range dashboards(t) {
		var variables []string
		for _, v := range d.Templating.List {
			variables = append(variables, v.Name)
			if !strings.Contains(read(t, deploy+"/grafana/dashboards/"+name+".json"), "$"+v.Name) && !strings.Contains(read(t, deploy+"/grafana/dashboards/"+name+".json"), "${"+v.Name+"}") {
				t.Errorf("%s: nothing uses the variable %s", name, v.Name)
			}
		}
		for _, want := range []string{"datasource", "namespace", "console"} {
			if !slices.Contains(variables, want) {
				t.Errorf("%s has no variable %s", name, want)
			}
		}
		for _, p := range append(d.Panels, panel{Title: "annotations", Targets: d.Annotations.List}) {
			for _, target := range p.Targets {
				for _, m := range selector.FindAllStringSubmatch(target.Expr, -1) {
					if !strings.Contains(m[2], `namespace=~"$namespace"`) {
						t.Errorf("%s: %q: %s does not select the namespace", name, p.Title, m[0])
					}
					if slices.Contains(variables, "company") && m[1] != "tieback_company_info" && hasCompany(have[family(m[1])]) && !strings.Contains(m[2], `company=~"$company"`) {
						t.Errorf("%s: %q: %s does not select the company", name, p.Title, m[0])
					}
				}
			}
		}
	}
}

// A graph or a table shows each of the chosen namespaces apart. A single number is the sum, or the worst, of them all.
func TestPanelsAreByNamespace(t *testing.T) {
	found := 0
	for name, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				for _, m := range aggregation.FindAllStringSubmatch(strings.TrimPrefix(target.Expr, first(p, target.Expr)), -1) {
					if found++; !byNamespace(m) {
						t.Errorf("%s: %q aggregates all namespaces: %s", name, p.Title, target.Expr)
					}
				}
				if on := regexp.MustCompile(`on \(([^)]*)\)`).FindStringSubmatch(target.Expr); on != nil && !byNamespace(on) {
					t.Errorf("%s: %q matches across namespaces: %s", name, p.Title, target.Expr)
				}
				if target.Legend != "" && !strings.HasSuffix(target.Legend, "{{namespace}}") {
					t.Errorf("%s: %q does not name the namespace: %s", name, p.Title, target.Legend)
				}
			}
		}
	}
	if found < 60 {
		t.Errorf("only %d aggregations found", found)
	}
}

// first returns the beginning of the expression of a single number: the aggregation of all namespaces.
func first(p panel, expr string) string {
	if p.Type != "stat" {
		return ""
	}
	return regexp.MustCompile(`^(sum|min|max|count)\(`).FindString(expr)
}

// With all namespaces chosen, a healthy one does not hide one that fails.
func TestNumbersShowWorstNamespace(t *testing.T) {
	want := map[string]int{ // by title
		"Broker": 0, "Services down": 1, "Unfinished": 807, "Oldest": 900, "Dead letters": 5, "Last backup": 1200,
		"Companies not served": 3, "Connectors that refuse their settings": 2,
		"All wait for the broker": 1, "Messages that wait": 807, "Longest wait": 900,
	}
	var tests strings.Builder
	for _, d := range dashboards(t) {
		for _, p := range d.Panels {
			value, there := want[p.Title]
			if !there {
				continue
			}
			fmt.Fprintf(&tests, "      - {expr: '%s', eval_time: 20m, exp_samples: [{labels: '{}', value: %d}]}\n", filled(p.Targets[0].Expr), value)
			delete(want, p.Title)
		}
	}
	for title := range want {
		t.Errorf("no panel %q", title)
	}
	tool(t, "promtool", "test", "rules", file(t, "test.yaml", `
tests:
  - interval: 1m
    input_series:
      - {series: 'tieback_broker_up{namespace="prod"}', values: '0+0x20'}
      - {series: 'tieback_broker_up{namespace="staging"}', values: '1+0x20'}
      - {series: 'up{namespace="prod",service="export"}', values: '0+0x20'}
      - {series: 'up{namespace="staging",service="export"}', values: '1+0x20'}
      - {series: 'tieback_consumer_lag_messages{namespace="prod",consumer="export"}', values: '800+0x20'}
      - {series: 'tieback_consumer_lag_messages{namespace="staging",consumer="export"}', values: '7+0x20'}
      - {series: 'tieback_consumer_oldest_seconds{namespace="prod",consumer="export"}', values: '900+0x20'}
      - {series: 'tieback_consumer_oldest_seconds{namespace="staging",consumer="export"}', values: '7+0x20'}
      - {series: 'tieback_dead_letters_open{namespace="prod",cause="erp"}', values: '3+0x20'}
      - {series: 'tieback_dead_letters_open{namespace="staging",cause="erp"}', values: '2+0x20'}
      - {series: 'tieback_backup_last_success_timestamp_seconds{namespace="prod"}', values: '0+0x20'}
      - {series: 'tieback_backup_last_success_timestamp_seconds{namespace="staging"}', values: '0+60x20'}
      - {series: 'tieback_companies_unserved{namespace="prod"}', values: '2+0x20'}
      - {series: 'tieback_companies_unserved{namespace="staging"}', values: '1+0x20'}
      - {series: 'tieback_connector_unopened{namespace="prod",company="7"}', values: '1+0x20'}
      - {series: 'tieback_connector_unopened{namespace="staging",company="7"}', values: '1+0x20'}
    promql_expr_test:
`+tests.String()))
}

func hasCompany(f *dto.MetricFamily) bool {
	return f != nil && slices.ContainsFunc(f.GetMetric()[0].GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == "company" })
}

// No panel shows a line for each of 51 event types, of many companies or of many routes: it shows those that stand out.
func TestPanelsHaveFewLines(t *testing.T) {
	many := regexp.MustCompile(`\{\{(type|company|name|route)\}\}`)
	for name, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				if many.MatchString(target.Legend) && !regexp.MustCompile(`^(top|bottom)k\(([1-9]|10), `).MatchString(target.Expr) {
					t.Errorf("%s: %q has a line for each %s: use topk", name, p.Title, target.Legend)
				}
			}
		}
	}
}

// Outcomes and names are shown, and the dashboards link to the console and to runbooks that exist.
func TestDashboardsShowOutcomesAndLinks(t *testing.T) {
	books := runbooks(t)
	for name, d := range dashboards(t) {
		text := read(t, deploy+"/grafana/dashboards/"+name+".json")
		for _, link := range []string{"${console}", "https://github.com/tieback/tieback/tree/main/deploy/runbooks"} {
			if !slices.ContainsFunc(d.Links, func(l struct{ Title, URL string }) bool { return l.URL == link }) {
				t.Errorf("%s has no link to %s", name, link)
			}
		}
		for _, m := range regexp.MustCompile(`/deploy/runbooks/(\w+)\.md`).FindAllStringSubmatch(text, -1) {
			if books[m[1]] == "" {
				t.Errorf("%s links to the runbook %s, which does not exist", name, m[1])
			}
		}
		if name == "tieback-waits" {
			continue
		}
		for _, outcome := range []string{"success", "refused", "failed"} {
			if !slices.ContainsFunc(expressions(t), func(e string) bool { return strings.Contains(e, `outcome="`+outcome+`"`) }) {
				t.Errorf("%s does not show the outcome %s", name, outcome)
			}
		}
	}
}

func overlap(a, b panel) bool {
	p, q := a.GridPos, b.GridPos
	return p.X < q.X+q.W && q.X < p.X+p.W && p.Y < q.Y+q.H && q.Y < p.Y+p.H
}
