package kubernetes

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// pod is the pod of a workload.
type pod struct {
	kind, name string // of the workload; the name is without the prefix
	prefix     string // of the installation's names, with "-"
	replicas   *int32 // nil: one, or set by an autoscaler
	selector   *metav1.LabelSelector
	meta       metav1.ObjectMeta
	spec       corev1.PodSpec
}

// service reports whether the pod is of a service of Tieback.
func (p pod) service() bool {
	return p.kind == "Deployment" && p.name != "sandbox" || p.kind == "StatefulSet" && (p.name == "status-reporter" || p.name == "console")
}

// pods returns the pods of all workloads and the one that deploy/kubernetes/tieback runs, which has the name tieback.
func pods(t *testing.T, b built) []pod {
	t.Helper()
	var all []pod
	for _, o := range b {
		p := pod{kind: o.kind, name: o.name}
		switch w := o.typed.(type) {
		case *appsv1.Deployment:
			p.replicas, p.selector, p.meta, p.spec = w.Spec.Replicas, w.Spec.Selector, w.Spec.Template.ObjectMeta, w.Spec.Template.Spec
		case *appsv1.StatefulSet:
			p.replicas, p.selector, p.meta, p.spec = w.Spec.Replicas, w.Spec.Selector, w.Spec.Template.ObjectMeta, w.Spec.Template.Spec
		case *batchv1.Job:
			p.meta, p.spec = w.Spec.Template.ObjectMeta, w.Spec.Template.Spec
		case *batchv1.CronJob:
			p.meta, p.spec = w.Spec.JobTemplate.Spec.Template.ObjectMeta, w.Spec.JobTemplate.Spec.Template.Spec
		case *corev1.PodTemplate:
			p.kind, p.name, p.meta, p.spec = "Pod", "tieback", w.Template.ObjectMeta, w.Template.Spec
		default:
			continue
		}
		p.prefix = strings.TrimSuffix(of[*corev1.ConfigMap](b)["settings"].Name, "settings")
		all = append(all, p)
	}
	return all
}

// commandLine returns the pod that deploy/kubernetes/tieback runs.
func commandLine(t *testing.T, b built) pod {
	t.Helper()
	all := pods(t, b)
	i := slices.IndexFunc(all, func(p pod) bool { return p.kind == "Pod" })
	if i < 0 {
		t.Fatal("no pod template of the command line")
	}
	return all[i]
}

// eachPod runs a test on every pod of every variant.
func eachPod(t *testing.T, test func(*testing.T, pod)) {
	t.Helper()
	each(t, func(t *testing.T, _ variant, b built) {
		for _, p := range pods(t, b) {
			t.Run(p.name, func(t *testing.T) { test(t, p) })
		}
	})
}

func TestPodsAreRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}
	eachPod(t, func(t *testing.T, p pod) {
		for _, r := range evaluator.EvaluatePod(restricted, &p.meta, &p.spec) {
			if !r.Allowed {
				t.Errorf("%s: %s", r.ForbiddenReason, r.ForbiddenDetail)
			}
		}
		if p.spec.AutomountServiceAccountToken == nil || *p.spec.AutomountServiceAccountToken != (p.name == "keys") {
			t.Error("the pod has a token for the API, or the Job of the keys has none")
		}
		for _, c := range p.spec.Containers {
			if c.SecurityContext == nil || c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
				t.Error("the root file system is writable")
			}
		}
	})
}

// The command line writes temporary files: the index of tieback requests, the editor's file of tieback dead edit.
func TestCommandLineHasTemporaryFolder(t *testing.T) {
	each(t, func(t *testing.T, _ variant, b built) {
		spec := commandLine(t, b).spec
		for _, m := range spec.Containers[0].VolumeMounts {
			if m.MountPath == "/tmp" && !m.ReadOnly && slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name && v.EmptyDir != nil }) {
				return
			}
		}
		t.Error("no emptyDir at /tmp")
	})
}

func TestNamespaceEnforcesRestrictedPods(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		namespaces := of[*corev1.Namespace](b)
		if len(namespaces) != 0 != v.with("namespace") {
			t.Errorf("namespaces: %d", len(namespaces))
		}
		for _, ns := range namespaces {
			if ns.Labels[psa.EnforceLevelLabel] != string(psa.LevelRestricted) {
				t.Error("the namespace does not enforce the level restricted")
			}
		}
		for name, account := range of[*corev1.ServiceAccount](b) {
			if account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken {
				t.Errorf("service account %s mounts its token", name)
			}
		}
	})
}

func TestPodsHaveRequestsAndLimits(t *testing.T) {
	eachPod(t, func(t *testing.T, p pod) {
		for _, c := range p.spec.Containers {
			for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				request, limit := c.Resources.Requests[r], c.Resources.Limits[r]
				if request.IsZero() || limit.IsZero() || request.Cmp(limit) > 0 {
					t.Errorf("%s: request %s, limit %s", r, request.String(), limit.String())
				}
			}
		}
	})
}

func TestImagesHaveOneVersion(t *testing.T) {
	version := chartVersion(t)
	each(t, func(t *testing.T, v variant, b built) {
		for _, p := range pods(t, b) {
			want := "/tieback/" + p.name + ":" + version
			switch p.name {
			case "keys":
				want = "/tieback/provisioner:" + version
			case "backup":
				want = "/tieback/tieback:" + version
			}
			if v.with("digests") {
				want = "/tieback/" + p.name + ":1.2.3"
				if p.name == "ingest" {
					want = "/tieback/ingest@sha256:" + strings.Repeat("0", 64)
				}
				if secrets := p.spec.ImagePullSecrets; len(secrets) != 1 || secrets[0].Name != "registry" {
					t.Errorf("%s pulls with %v", p.name, secrets)
				}
			}
			for _, c := range p.spec.Containers {
				if !strings.HasSuffix(c.Image, want) && !strings.HasPrefix(c.Image, "nats:") {
					t.Errorf("%s runs the image %s, want %s", p.name, c.Image, want)
				}
			}
		}
	})
}

func TestProbes(t *testing.T) {
	eachPod(t, func(t *testing.T, p pod) {
		if p.kind == "Job" || p.kind == "CronJob" || p.kind == "Pod" {
			return // they end
		}
		for _, c := range p.spec.Containers {
			if c.Name == "reloader" {
				continue // it has no port
			}
			for name, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
				if probe == nil {
					t.Errorf("no %s probe", name)
				}
			}
			if p.name == "nats" {
				recovers(t, c.StartupProbe)
			}
			if !p.service() {
				continue
			}
			for path, probe := range map[string]*corev1.Probe{"/healthz": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
				if probe.HTTPGet == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Port.String() != "admin" {
					t.Errorf("%+v; want a GET of %s at admin", probe.HTTPGet, path)
				}
			}
		}
	})
}

// recovers checks that a broker with millions of messages has ten minutes to start.
func recovers(t *testing.T, p *corev1.Probe) {
	t.Helper()
	if p == nil || p.PeriodSeconds*p.FailureThreshold < 600 {
		t.Errorf("the startup probe %+v allows less than ten minutes", p)
	}
}

// In docker-compose.yml too, the broker and the services that wait for it have ten minutes to start.
func TestComposeStartPeriods(t *testing.T) {
	raw, err := os.ReadFile("../../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			HealthCheck struct {
				StartPeriod string `json:"start_period"`
			} `json:"healthcheck"`
		} `json:"services"`
	}
	if err := yaml.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nats", "ingest", "status-reporter"} {
		if d, err := time.ParseDuration(file.Services[name].HealthCheck.StartPeriod); err != nil || d < 10*time.Minute {
			t.Errorf("%s has the start period %q (%v), want at least 10m", name, file.Services[name].HealthCheck.StartPeriod, err)
		}
	}
}

func TestSelectors(t *testing.T) {
	eachPod(t, func(t *testing.T, p pod) {
		if p.selector != nil && !selects(t, p.selector, p.meta.Labels) {
			t.Errorf("the selector %v does not match the pods' labels %v", p.selector.MatchLabels, p.meta.Labels)
		}
		if p.meta.Labels["app.kubernetes.io/name"] != p.name || p.meta.Labels["app.kubernetes.io/part-of"] == "" ||
			p.meta.Labels["app.kubernetes.io/component"] == "" {
			t.Errorf("labels: %v", p.meta.Labels)
		}
		if p.service() && len(p.spec.TopologySpreadConstraints) == 0 {
			t.Error("no constraint spreads its pods")
		}
		for _, c := range p.spec.TopologySpreadConstraints {
			if !selects(t, c.LabelSelector, p.meta.Labels) {
				t.Errorf("a spread constraint selects other pods: %v", c.LabelSelector)
			}
			if c.LabelSelector.MatchLabels["app.kubernetes.io/name"] != p.name {
				t.Error("the spread constraint counts pods of other services")
			}
		}
	})
}

func TestServicesSelectTheirPods(t *testing.T) {
	each(t, func(t *testing.T, _ variant, b built) {
		for name, s := range of[*corev1.Service](b) {
			for _, port := range s.Spec.Ports {
				if !slices.ContainsFunc(pods(t, b), func(p pod) bool {
					return labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(p.meta.Labels)) && hasPort(p, port.TargetPort.String(), port.Port)
				}) {
					t.Errorf("service %s: no pod with port %s (%d)", name, port.TargetPort.String(), port.Port)
				}
			}
		}
	})
}

func hasPort(p pod, name string, number int32) bool {
	return slices.ContainsFunc(p.spec.Containers, func(c corev1.Container) bool {
		return slices.ContainsFunc(c.Ports, func(have corev1.ContainerPort) bool { return have.Name == name && have.ContainerPort == number })
	})
}

func selects(t *testing.T, s *metav1.LabelSelector, l map[string]string) bool {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(labels.Set(l))
}
