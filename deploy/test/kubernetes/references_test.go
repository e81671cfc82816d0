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

	"github.com/tieback/tieback/pkg/bus/topology"
)

// made has the secrets, without the prefix, that the chart does not create without External Secrets; README.md describes them.
var made = map[string]bool{"companies": true, "webhooks": true, "console": true, "nats-users": true, "nats-ca": true, "nats-tls": true, "storage": true, "nkey-backup": true}

func init() {
	for _, user := range topology.Users() {
		made["nkey-"+user] = true
	}
}

func TestReferences(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		secrets, maps, accounts := of[*corev1.Secret](b), of[*corev1.ConfigMap](b), of[*corev1.ServiceAccount](b)
		external := of[*ExternalSecret](b)
		for _, p := range pods(t, b) {
			for _, vol := range p.spec.Volumes {
				switch {
				case vol.Secret != nil:
					name, ours := strings.CutPrefix(vol.Secret.SecretName, p.prefix)
					if !ours || secrets[name] == nil && !made[name] || v.with("external") && name != "nats-tls" && name != "storage" && external[name] == nil {
						t.Errorf("%s: no secret %s", p.name, vol.Secret.SecretName)
					}
				case vol.ConfigMap != nil:
					if maps[strings.TrimPrefix(vol.ConfigMap.Name, p.prefix)] == nil {
						t.Errorf("%s: no config map %s", p.name, vol.ConfigMap.Name)
					}
				case p.name == "backup" && vol.PersistentVolumeClaim != nil: // of the values
				case vol.EmptyDir != nil && (p.kind == "Pod" || p.name == "keys"): // /tmp of the command line and of the Job of the keys
				default:
					t.Errorf("%s: volume %s is neither a secret nor a config map", p.name, vol.Name)
				}
			}
			for _, c := range p.spec.Containers {
				for _, from := range c.EnvFrom {
					if from.ConfigMapRef == nil || maps[strings.TrimPrefix(from.ConfigMapRef.Name, p.prefix)] == nil {
						t.Errorf("%s: no config map for its settings", p.name)
					}
				}
				for _, e := range c.Env {
					if e.ValueFrom != nil && e.ValueFrom.FieldRef == nil {
						t.Errorf("%s: the variable %s has a reference; secrets must be files", p.name, e.Name)
					}
				}
				mounts(t, p, c)
			}
			if p.kind != "Pod" && (p.spec.ServiceAccountName != p.prefix+p.name || accounts[p.name] == nil) {
				t.Errorf("%s runs as the service account %q", p.name, p.spec.ServiceAccountName)
			}
		}
	})
}

// mounts checks that each volume is mounted, and that rotated secrets reach the container.
func mounts(t *testing.T, p pod, c corev1.Container) {
	t.Helper()
	claims := []string{"data"} // of stateful sets
	for _, v := range p.spec.Volumes {
		mounted := slices.ContainsFunc(p.spec.Containers, func(c corev1.Container) bool {
			return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name })
		})
		if !mounted {
			t.Errorf("%s: volume %s is not mounted", p.name, v.Name)
		}
		claims = append(claims, v.Name)
	}
	for _, m := range c.VolumeMounts {
		if !slices.Contains(claims, m.Name) {
			t.Errorf("%s: no volume %s", p.name, m.Name)
		}
		writable := m.Name == "data" || (p.kind == "Pod" || p.name == "keys") && m.MountPath == "/tmp"
		if m.SubPath != "" || (!writable && !m.ReadOnly) {
			t.Errorf("%s: %s is mounted with a subPath, or is writable", p.name, m.MountPath)
		}
	}
}

func TestPodsMountOnlyTheirKey(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		var users []string
		for _, p := range pods(t, b) {
			file := environment(t, b, p)["TIEBACK_NATS_NKEY_FILE"]
			if file == "" {
				continue
			}
			users = append(users, p.name)
			if file != "/etc/tieback-key/"+p.name+".nk" {
				t.Errorf("%s: its key file is %s", p.name, file)
			}
			for _, v := range p.spec.Volumes {
				if v.Secret != nil && strings.HasPrefix(v.Secret.SecretName, p.prefix+"nkey-") && v.Secret.SecretName != p.prefix+"nkey-"+p.name {
					t.Errorf("%s mounts the key %s", p.name, v.Secret.SecretName)
				}
				if v.Secret != nil && (v.Secret.DefaultMode == nil || *v.Secret.DefaultMode != 0o440) {
					t.Errorf("%s: other users may read %s", p.name, v.Secret.SecretName)
				}
			}
		}
		slices.Sort(users)
		known := slices.DeleteFunc(topology.Users(), func(user string) bool { return user == "console" && !v.with("console") })
		if v.with("backup") {
			known = append(known, "backup")
		}
		slices.Sort(known)
		if !slices.Equal(users, known) {
			t.Errorf("pods with a key: %v; the broker's users: %v", users, known)
		}
	})
}

func TestTopologyIsManaged(t *testing.T) {
	each(t, func(t *testing.T, _ variant, b built) {
		for _, p := range pods(t, b) {
			if env := environment(t, b, p); env["TIEBACK_NATS_NKEY_FILE"] != "" && env["TIEBACK_NATS_TOPOLOGY"] != "managed" {
				t.Errorf("%s: TIEBACK_NATS_TOPOLOGY is %q", p.name, env["TIEBACK_NATS_TOPOLOGY"])
			}
		}
	})
}

// The objects in the kubectl commands of the runbooks and README.md exist.
func TestKubectlCommandsNameObjects(t *testing.T) {
	texts, err := filepath.Glob(root + "/deploy/runbooks/*.md")
	if err != nil || len(texts) == 0 {
		t.Fatalf("no runbooks: %v", err)
	}
	there := map[string]bool{"statefulset/nats": true, "job/backup-now": true} // of the official chart; made by a command
	for _, name := range []string{"nginx", "local"} {
		for _, o := range build(t, variantOf(t, name)) {
			there[strings.ToLower(o.kind)+"/"+o.GetName()] = true
		}
	}
	for secret := range made {
		there["secret/tieback-"+secret] = true
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
				// CONSUMER stands for the alert's consumer. It may be status-reporter, which must not be scaled.
				scaled := m[2] == "tieback-CONSUMER" && strings.Contains(command, " scale ")
				if !scaled && !there[m[1]+"/"+m[2]] {
					t.Errorf("%s: no %s %s: %s", filepath.Base(path), m[1], m[2], command)
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("found only %d objects", seen)
	}
}

// README.md describes each secret that the reader creates.
func TestREADMENamesEverySecret(t *testing.T) {
	guide, err := os.ReadFile(manifests + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for secret := range made {
		if name, isKey := strings.CutPrefix(secret, "nkey-"); isKey && name != "" {
			secret = "nkey-<service>"
		}
		if !strings.Contains(string(guide), "`tieback-"+secret+"`") {
			t.Errorf("README.md does not name the secret %s", secret)
		}
	}
}

// Two status-reporters could report a record's requests out of order, and two consoles would write one index.
func TestOnePod(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		for _, name := range []string{"status-reporter", "console"} {
			s := of[*appsv1.StatefulSet](b)[name]
			if name == "console" && !v.with("console") {
				if s != nil {
					t.Error("the console is installed")
				}
				continue
			}
			if of[*appsv1.Deployment](b)[name] != nil {
				t.Errorf("%s: a Deployment may run two pods when a node is drained or a pod deleted", name)
			}
			if s == nil || s.Spec.Replicas == nil || *s.Spec.Replicas != 1 {
				t.Fatalf("%s is no StatefulSet of one replica", name)
			}
			if s.Spec.PodManagementPolicy != appsv1.ParallelPodManagement {
				t.Errorf("%s: a version that never becomes ready could not be replaced", name)
			}
			for _, scaled := range scalers(b) {
				if scaled.target == name {
					t.Errorf("%s is scaled", name)
				}
			}
		}
	})
}
