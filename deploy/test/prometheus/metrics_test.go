package prometheus

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/catalogue"
)

// name matches the name of a metric of Tieback.
var name = regexp.MustCompile(`\btieback_[a-z_]+\b`)

// family returns the name of the metric of a series.
func family(series string) string {
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if base, cut := strings.CutSuffix(series, suffix); cut && strings.HasSuffix(base, "_seconds") {
			return base
		}
	}
	return series
}

func ours(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	all := map[string]*dto.MetricFamily{}
	for _, f := range exported(t) {
		if strings.HasPrefix(f.GetName(), "tieback_") {
			all[f.GetName()] = f
		}
	}
	return all
}

func TestMetricNames(t *testing.T) {
	problems, err := promlint.NewWithMetricFamilies(exported(t)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// bounds returns for each label the values that it may have. Their number does not grow with the number of events.
func bounds() map[string]*regexp.Regexp {
	var types, consumers, categories []string
	for _, e := range catalogue.Table {
		types = append(types, e.Name)
	}
	for _, d := range topology.Durables() {
		consumers = append(consumers, d.Name)
	}
	for _, c := range catalogue.Categories {
		categories = append(categories, string(c))
	}
	one := func(of ...string) *regexp.Regexp { return regexp.MustCompile("^(" + strings.Join(of, "|") + ")$") }
	return map[string]*regexp.Regexp{
		"type": one(append(types, "_")...), "consumer": one(consumers...), "stage": one(append(categories, "fetcher", "status-reporter")...),
		"verdict": one("done", "again", "throttled", "dead"), "class": one("transient", "permanent", "throttled", "ambiguous"),
		"cause": one("tieback", "company-data", "erp", "procore", "limits", "unknown"), "window": one("hour", "spike"),
		"company": one("598134325841112"), "status": one("[1-5][0-9][0-9]", "error"), "route": one("[a-z_/ ]+"), "operation": one("[a-z_]+"),
		"result": one("[a-z_]+"), "stream": one("TIEBACK_[A-Z]+", "KV_tieback-(state|quota)"), "service": one("[a-z-]+"),
		"name": one("Acme Builders"), "use": one("broker", "broker_ca", "webhook", "connector", "connector_[a-z_]+"), "source": one("erp", "procore", "tieback"), "reason": one("[a-z-]+"),
		"version": one(".+"), "revision": one(".+"), "category": one(append(categories, "_")...), "outcome": one("success", "refused", "failed"),
	}
}

func TestLabelsAreBounded(t *testing.T) {
	bounds := bounds()
	for name, f := range ours(t) {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				bound := bounds[l.GetName()]
				if bound == nil || !bound.MatchString(l.GetValue()) {
					t.Errorf("%s has the label %s=%q: a label must have few, known values", name, l.GetName(), l.GetValue())
				}
			}
		}
	}
}

// Each metric in a rule, a panel or a runbook is exported.
func TestUsedMetricsAreExported(t *testing.T) {
	have, maybe := ours(t), described(t)
	for where, text := range users(t) {
		for _, n := range name.FindAllString(text, -1) {
			if have[family(n)] == nil && !slices.Contains(maybe, n) {
				t.Errorf("%s uses %s, which no service exports", where, n)
			}
		}
	}
}

// described returns the metrics that a process registers. Some have no series in the pipeline, such as refused credentials.
func described(t *testing.T) (names []string) {
	t.Helper()
	exported(t)
	for _, d := range descriptions {
		if n := name.FindString(d.String()); n != "" {
			names = append(names, n)
		}
	}
	return names
}

// Each exported metric is in a rule or a panel. Others would cost memory in every Prometheus.
func TestExportedMetricsAreUsed(t *testing.T) {
	var asked []string
	for where, text := range users(t) {
		if !strings.HasSuffix(where, ".md") {
			for _, n := range name.FindAllString(text, -1) {
				asked = append(asked, family(n))
			}
		}
	}
	for n := range ours(t) {
		if !slices.Contains(asked, n) {
			t.Errorf("no rule and no panel uses %s", n)
		}
	}
}

// docs/metrics.md has a row for each metric, with its labels.
func TestPageOfMetrics(t *testing.T) {
	rows := map[string]string{} // labels by name
	for _, m := range regexp.MustCompile("(?m)^\\| `(tieback_[a-z_]+)(?:\\{([a-z_,]+)\\})?` \\|").FindAllStringSubmatch(users(t)["docs/metrics.md"], -1) {
		rows[m[1]] = m[2]
	}
	have := ours(t)
	for name, f := range have {
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		row, there := rows[name]
		want := strings.FieldsFunc(row, func(r rune) bool { return r == ',' })
		slices.Sort(want)
		if slices.Sort(labels); !there || !slices.Equal(labels, want) {
			t.Errorf("docs/metrics.md: %s has the labels %v; the page has a row: %v, labels %v", name, labels, there, want)
		}
	}
	for _, name := range described(t) {
		if _, there := rows[name]; !there {
			t.Errorf("docs/metrics.md has no row for %s", name)
		}
	}
}

// docs/metrics.md has a row for each alert, with a link to its runbook.
func TestPageOfMetricsHasEachAlert(t *testing.T) {
	page := users(t)["docs/metrics.md"]
	for alert := range runbooks(t) {
		if !strings.Contains(page, "\n| [`"+alert+"`](../deploy/runbooks/"+alert+".md) |") {
			t.Errorf("docs/metrics.md has no row for the alert %s", alert)
		}
	}
}

// users returns all texts that name metrics.
func users(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{
		"rules.yaml":      read(t, deploy+"/prometheus/rules.yaml"),
		"rules_test.yaml": read(t, deploy+"/prometheus/rules_test.yaml") + read(t, deploy+"/prometheus/rules_days_test.yaml"),
		"docs/metrics.md": read(t, deploy+"/../docs/metrics.md"),
	}
	for uid := range dashboards(t) {
		all[uid+".json"] = read(t, deploy+"/grafana/dashboards/"+uid+".json")
	}
	for alert, text := range runbooks(t) {
		all[alert+".md"] = text
	}
	return all
}

// The threshold of late close-outs in the rules is a bucket of the histogram.
func TestThresholdOfLateCloseOutsIsBucket(t *testing.T) {
	for _, m := range ours(t)["tieback_close_out_seconds"].GetMetric() {
		if !slices.ContainsFunc(m.GetHistogram().GetBucket(), func(b *dto.Bucket) bool { return b.GetUpperBound() == 102.4 }) {
			t.Errorf("102.4 s is no bucket of %v", m.GetHistogram().GetBucket())
		}
	}
}

// The rules recognize syncs by their names.
func TestNamesOfSyncs(t *testing.T) {
	for _, e := range catalogue.Table {
		if strings.HasPrefix(e.Name, "sync_") != (e.Category == catalogue.Sync) {
			t.Errorf("%s is of category %s", e.Name, e.Category)
		}
	}
}
