package kubernetes

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"

	"github.com/tieback/tieback/pkg/golden"
)

// The chart's PrometheusRule has the rules of deploy/prometheus/rules.yaml, restricted to the namespace of the release.
func TestPrometheusRule(t *testing.T) {
	raw, err := os.ReadFile(root + "/deploy/prometheus/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, helmChart+"/files/rules.yaml", restricted(string(raw), "RELEASE_NAMESPACE"))
	each(t, func(t *testing.T, v variant, b built) {
		rules := restricted(string(raw), v.namespace)
		if !v.with("console") {
			rules = strings.Replace(rules, "\n            or absent(up{namespace=\""+v.namespace+"\",service=\"console\"})", "", 1)
		}
		var want monitoringv1.PrometheusRuleSpec
		if err := yaml.UnmarshalStrict([]byte(rules), &want); err != nil {
			t.Fatal(err)
		}
		for _, r := range of[*monitoringv1.PrometheusRule](b) {
			if len(want.Groups) == 0 || !reflect.DeepEqual(r.Spec, want) {
				t.Error("the rules differ from deploy/prometheus/rules.yaml; run make generate")
			}
		}
		if n := len(of[*monitoringv1.PrometheusRule](b)); n != 0 != v.with("monitoring") {
			t.Errorf("%d rules", n)
		}
	})
}

var metric = regexp.MustCompile(`\b(tieback_[a-z_]+\{?|up\{)`)

// restricted returns rules in which every selector selects a namespace.
func restricted(rules, namespace string) string {
	return metric.ReplaceAllStringFunc(rules, func(m string) string {
		name, more := strings.CutSuffix(m, "{")
		if more {
			return fmt.Sprintf("%s{namespace=%q,", name, namespace)
		}
		return fmt.Sprintf("%s{namespace=%q}", name, namespace)
	})
}

// Prometheus scrapes each service of the namespace, with the labels service and, by the operator, namespace.
func TestPodMonitorSelectsServices(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		m := of[*monitoringv1.PodMonitor](b)[v.prefix]
		if (m != nil) != v.with("monitoring") {
			t.Fatalf("pod monitor: %v", m)
		}
		if m == nil {
			return
		}
		for _, p := range pods(t, b) {
			if found := selects(t, &m.Spec.Selector, p.meta.Labels); found != p.service() {
				t.Errorf("%s: %v", p.name, found)
			}
		}
		e := m.Spec.PodMetricsEndpoints[0]
		if e.Port == nil || *e.Port != "admin" || e.Path != "/metrics" || len(e.RelabelConfigs) != 1 || e.RelabelConfigs[0].TargetLabel != "service" ||
			e.RelabelConfigs[0].SourceLabels[0] != "__meta_kubernetes_pod_label_app_kubernetes_io_name" {
			t.Errorf("%+v", e)
		}
		if s := m.Spec.NamespaceSelector; s.Any || len(s.MatchNames) > 0 || e.HonorLabels {
			t.Errorf("the pod monitor selects %+v, honor labels: %v; the label namespace must be the release's", s, e.HonorLabels)
		}
	})
}
