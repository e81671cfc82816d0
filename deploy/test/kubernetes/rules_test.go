package kubernetes

import (
	"os"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"sigs.k8s.io/yaml"

	"github.com/tieback/tieback/pkg/golden"
)

const rule = manifests + "/components/monitoring/prometheusrule.yaml"

// The PrometheusRule has the rules of deploy/prometheus/rules.yaml.
func TestPrometheusRule(t *testing.T) {
	want := wrapped(t)
	golden.Compare(t, rule, string(want))
	typed := decode(t, want).typed.(*monitoringv1.PrometheusRule)
	if len(typed.Spec.Groups) == 0 {
		t.Error("no rules")
	}
}

func wrapped(t *testing.T) []byte {
	t.Helper()
	raw, err := os.ReadFile(root + "/deploy/prometheus/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var groups map[string]any
	if err := yaml.Unmarshal(raw, &groups); err != nil {
		t.Fatal(err)
	}
	out, err := yaml.Marshal(map[string]any{
		"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
		"metadata": map[string]any{"name": "tieback", "namespace": namespace, "labels": map[string]any{"app.kubernetes.io/part-of": "tieback"}},
		"spec":     groups,
	})
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte("# Code generated from deploy/prometheus/rules.yaml by deploy/test/kubernetes; DO NOT EDIT.\n"), out...)
}

// Prometheus scrapes each service, with the label service.
func TestPodMonitorSelectsServices(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		m := of[*monitoringv1.PodMonitor](b)["tieback"]
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
	})
}
