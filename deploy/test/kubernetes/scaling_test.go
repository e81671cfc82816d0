package kubernetes

import (
	"fmt"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// single has the workloads with one replica.
var single = []string{"console", "lag-exporter", "sandbox", "status-reporter", "sweep"}

// scaler is an autoscaler of a service.
type scaler struct {
	target   string
	min, max int32
}

func scalers(b built) []scaler {
	var all []scaler
	for _, s := range of[*ScaledObject](b) {
		all = append(all, scaler{short(s, s.Spec.ScaleTargetRef.Name), s.Spec.MinReplicaCount, s.Spec.MaxReplicaCount})
	}
	for _, h := range of[*autoscalingv2.HorizontalPodAutoscaler](b) {
		all = append(all, scaler{short(h, h.Spec.ScaleTargetRef.Name), *h.Spec.MinReplicas, h.Spec.MaxReplicas})
	}
	return all
}

// short removes the prefix of the installation from the name of an object that an autoscaler scales. The autoscaler has the same.
func short(o metav1.Object, name string) string {
	if name != o.GetName() {
		return name
	}
	return o.GetLabels()["app.kubernetes.io/name"]
}

func TestAutoscalers(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		deployments := of[*appsv1.Deployment](b)
		scaled := map[string]bool{}
		for _, s := range scalers(b) {
			d := deployments[s.target]
			if d == nil || slices.Contains(single, s.target) || scaled[s.target] {
				t.Errorf("%s must not be scaled, or is scaled twice", s.target)
				continue
			}
			scaled[s.target] = true
			if d.Spec.Replicas != nil {
				t.Errorf("%s: each apply would reset its replicas to %d", s.target, *d.Spec.Replicas)
			}
			if s.min < 2 || s.max <= s.min {
				t.Errorf("%s: from %d to %d", s.target, s.min, s.max)
			}
		}
		if v.with("hpa") && len(scaled) != 7 || v.with("keda") && len(scaled) != 6 {
			t.Errorf("scaled: %v", scaled)
		}
		for name, d := range deployments {
			if d.Spec.Replicas == nil && !scaled[name] {
				t.Errorf("%s has no number of replicas", name)
			}
		}
	})
}

func TestKEDAScalesByOwnConsumer(t *testing.T) {
	var consumers []string
	for _, d := range topology.Durables() {
		consumers = append(consumers, d.Name)
	}
	each(t, func(t *testing.T, v variant, b built) {
		for name, s := range of[*ScaledObject](b) {
			target := short(s, s.Spec.ScaleTargetRef.Name)
			if len(s.Spec.Triggers) != 1 || s.Spec.Triggers[0].Type != "prometheus" {
				t.Fatalf("%s: %+v", name, s.Spec.Triggers)
			}
			m := s.Spec.Triggers[0].Metadata
			if want := fmt.Sprintf(`max(tieback_consumer_lag_messages{namespace=%q,consumer=%q})`, v.namespace, target); m.Query != want {
				t.Errorf("%s queries %s; want %s", name, m.Query, want)
			}
			if !slices.Contains(consumers, target) {
				t.Errorf("no consumer %s", target)
			}
			// Missing metrics must not scale down.
			if f := s.Spec.Fallback; m.IgnoreNullValues != "false" || f.FailureThreshold < 1 || f.Replicas < 2 || f.Behavior != "currentReplicasIfHigher" {
				t.Errorf("%s: without metrics: %q, %+v", name, m.IgnoreNullValues, f)
			}
		}
	})
}

func TestBudgets(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		many := map[string]bool{}
		for name, d := range of[*appsv1.Deployment](b) {
			many[name] = d.Spec.Replicas != nil && *d.Spec.Replicas > 1
			if many[name] && slices.Contains(single, name) {
				t.Errorf("%s: %d replicas", name, *d.Spec.Replicas)
			}
		}
		for _, s := range scalers(b) {
			many[s.target] = true
		}
		if s := of[*appsv1.StatefulSet](b)["nats"]; s != nil {
			many["nats"] = *s.Spec.Replicas > 1
		}
		budgets := of[*policyv1.PodDisruptionBudget](b)
		for name, budget := range budgets {
			var selected []string
			for _, p := range pods(t, b) {
				if selects(t, budget.Spec.Selector, p.meta.Labels) {
					selected = append(selected, p.name)
				}
			}
			if len(selected) != 1 || selected[0] != name || !many[name] || budget.Spec.MaxUnavailable.IntValue() != 1 {
				t.Errorf("budget %s is for %v (more than one: %v), %v may be unavailable", name, selected, many[name], budget.Spec.MaxUnavailable)
			}
		}
		for name := range many {
			if many[name] && budgets[name] == nil {
				t.Errorf("%s has no budget: a drain may end all of its pods", name)
			}
		}
	})
}
