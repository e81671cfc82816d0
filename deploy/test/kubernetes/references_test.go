package kubernetes

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// made are the secrets that the script `secrets` makes, or whoever sets TLS up; the README tells of them.
var made = map[string]bool{"tieback-companies": true, "tieback-webhooks": true, "tieback-nats-users": true, "nats-ca": true}

func init() {
	for _, user := range topology.Users() {
		made["tieback-nkey-"+user] = true
	}
}

func TestWhatPodsReferToIsThere(t *testing.T) {
	each(t, func(t *testing.T, _ variant, b built) {
		secrets, maps, accounts := of[*corev1.Secret](b), of[*corev1.ConfigMap](b), of[*corev1.ServiceAccount](b)
		for _, p := range pods(t, b) {
			for _, v := range p.spec.Volumes {
				switch {
				case v.Secret != nil:
					if secrets[v.Secret.SecretName] == nil && !made[v.Secret.SecretName] {
						t.Errorf("%s: nobody makes the secret %s", p.name, v.Secret.SecretName)
					}
				case v.ConfigMap != nil:
					if maps[v.ConfigMap.Name] == nil {
						t.Errorf("%s: there is no config map %s", p.name, v.ConfigMap.Name)
					}
				default:
					t.Errorf("%s: volume %s is neither a secret nor a config map", p.name, v.Name)
				}
			}
			for _, c := range p.spec.Containers {
				for _, from := range c.EnvFrom {
					if from.ConfigMapRef == nil || maps[from.ConfigMapRef.Name] == nil {
						t.Errorf("%s: its settings are not there", p.name)
					}
				}
				for _, e := range c.Env {
					if e.ValueFrom != nil {
						t.Errorf("%s: %s comes from elsewhere; secrets are files", p.name, e.Name)
					}
				}
				mounts(t, p, c)
			}
			if p.kind != "Pod" && (p.spec.ServiceAccountName != p.name || accounts[p.name] == nil) {
				t.Errorf("%s runs as the service account %q", p.name, p.spec.ServiceAccountName)
			}
		}
	})
}

// mounts checks that volumes and mounts belong together, and that what is rotated arrives.
func mounts(t *testing.T, p pod, c corev1.Container) {
	t.Helper()
	claims := []string{"data"} // of stateful sets
	for _, v := range p.spec.Volumes {
		mounted := slices.ContainsFunc(p.spec.Containers, func(c corev1.Container) bool {
			return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name })
		})
		if !mounted {
			t.Errorf("%s: volume %s is nowhere mounted", p.name, v.Name)
		}
		claims = append(claims, v.Name)
	}
	for _, m := range c.VolumeMounts {
		if !slices.Contains(claims, m.Name) {
			t.Errorf("%s: there is no volume %s", p.name, m.Name)
		}
		if m.SubPath != "" || (m.Name != "data" && !m.ReadOnly) {
			t.Errorf("%s: %s is mounted as a part, or can be written", p.name, m.MountPath)
		}
	}
}

func TestEachPodSeesItsOwnKeyOnly(t *testing.T) {
	each(t, func(t *testing.T, _ variant, b built) {
		var users []string
		for _, p := range pods(t, b) {
			file := environment(t, b, p)["TIEBACK_NATS_NKEY_FILE"]
			if file == "" {
				continue
			}
			users = append(users, p.name)
			if file != "/etc/tieback-key/"+p.name+".nk" {
				t.Errorf("%s: its key is %s", p.name, file)
			}
			for _, v := range p.spec.Volumes {
				if v.Secret != nil && strings.HasPrefix(v.Secret.SecretName, "tieback-nkey-") && v.Secret.SecretName != "tieback-nkey-"+p.name {
					t.Errorf("%s sees the key of %s", p.name, v.Secret.SecretName)
				}
				if v.Secret != nil && (v.Secret.DefaultMode == nil || *v.Secret.DefaultMode != 0o440) {
					t.Errorf("%s: others may read %s", p.name, v.Secret.SecretName)
				}
			}
		}
		slices.Sort(users)
		known := slices.Sorted(slices.Values(topology.Users()))
		if !slices.Equal(users, known) {
			t.Errorf("pods with a key: %v; the broker's users: %v", users, known)
		}
	})
}

func TestOnlyOneMakesStreams(t *testing.T) {
	each(t, func(t *testing.T, _ variant, b built) {
		for _, p := range pods(t, b) {
			if env := environment(t, b, p); env["TIEBACK_NATS_NKEY_FILE"] != "" && env["TIEBACK_NATS_TOPOLOGY"] != "managed" {
				t.Errorf("%s: TIEBACK_NATS_TOPOLOGY is %q", p.name, env["TIEBACK_NATS_TOPOLOGY"])
			}
		}
	})
}

func TestTheIngressLeadsToIngest(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		in := of[*networkingv1.Ingress](b)["ingest"]
		for _, rule := range in.Spec.Rules {
			for _, path := range rule.HTTP.Paths {
				if path.Path != "/webhooks/procore" || path.Backend.Service.Name != "ingest" || path.Backend.Service.Port.Name != "http" {
					t.Errorf("%+v", path)
				}
			}
			if v.overlay == "production" && (rule.Host == "" || len(in.Spec.TLS) != 1 || !slices.Contains(in.Spec.TLS[0].Hosts, rule.Host)) {
				t.Errorf("host %q without TLS: %v", rule.Host, in.Spec.TLS)
			}
		}
	})
}

// Whoever is woken types what the runbooks say: what they name for kubectl must be there.
func TestWhatTextsNameForKubectlIsThere(t *testing.T) {
	texts, err := filepath.Glob(root + "/deploy/runbooks/*.md")
	if err != nil || len(texts) == 0 {
		t.Fatalf("no runbooks: %v", err)
	}
	there := map[string]bool{"statefulset/nats": true} // the chart's
	b := build(t, variant{overlay: "production"})
	for _, o := range b {
		there[strings.ToLower(o.kind)+"/"+o.GetName()] = true
	}
	for secret := range made {
		there["secret/"+secret] = true
	}
	asked := regexp.MustCompile(`\b(deployment|statefulset|job|secret)(?:/| )([A-Za-z][A-Za-z-]*)`)
	seen := 0
	for _, path := range append(texts, manifests+"/README.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range regexp.MustCompile("kubectl [^`\n]*").FindAllString(string(text), -1) {
			for _, m := range asked.FindAllStringSubmatch(command, -1) {
				seen++
				// CONSUMER is whom the alert names: the status-reporter, too, of which there must not be more.
				scaled := m[2] == "CONSUMER" && strings.Contains(command, " scale ")
				if !scaled && !there[m[1]+"/"+m[2]] {
					t.Errorf("%s: there is no %s %s: %s", filepath.Base(path), m[1], m[2], command)
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d found", seen)
	}
}

// The README says how to make each secret that a reader has to make.
func TestTheGuideNamesEverySecret(t *testing.T) {
	guide, err := os.ReadFile(manifests + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for secret := range made {
		if name, isKey := strings.CutPrefix(secret, "tieback-nkey-"); isKey && name != "" {
			secret = "tieback-nkey-<service>"
		}
		if !strings.Contains(string(guide), "`"+secret+"`") {
			t.Errorf("README.md does not say where %s comes from", secret)
		}
	}
}

func TestThereIsOneStatusReporter(t *testing.T) {
	each(t, func(t *testing.T, _ variant, b built) {
		if of[*appsv1.Deployment](b)["status-reporter"] != nil {
			t.Error("a Deployment starts the next one while the last still ends: on a drain, an eviction, a delete")
		}
		s := of[*appsv1.StatefulSet](b)["status-reporter"]
		if s == nil || s.Spec.Replicas == nil || *s.Spec.Replicas != 1 {
			t.Fatal("no StatefulSet of one: two could tell one record's requests out of order")
		}
		if s.Spec.PodManagementPolicy != appsv1.ParallelPodManagement {
			t.Error("a version that never gets ready could not be taken back: the controller would wait for it")
		}
	})
}
