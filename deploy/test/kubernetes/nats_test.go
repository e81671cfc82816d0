package kubernetes

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	psa "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/tieback/tieback/pkg/bus/topology"
)

func TestNATSValues(t *testing.T) {
	v := chart(t, "values.yaml")
	if c := v.Config.Cluster; !c.Enabled || c.Replicas != 3 {
		t.Errorf("cluster: %+v", c)
	}
	recovers(t, v.Container.Merge.StartupProbe)
	js := v.Config.JetStream
	if !js.Enabled || !js.FileStore.Enabled || !js.FileStore.PVC.Enabled || !js.MemoryStore.Enabled || js.MemoryStore.MaxSize.IsZero() {
		t.Errorf("jetstream: %+v", js)
	}
	if disk := js.FileStore.PVC.Size.Value(); js.FileStore.MaxSize.Value() > disk/10*8 {
		t.Errorf("JetStream may fill %s of a disk of %s", js.FileStore.MaxSize.String(), js.FileStore.PVC.Size.String())
	}
	env := environment(t, build(t, variant{overlay: "production"}), commandLine(t, build(t, variant{overlay: "production"})))
	if max := env["TIEBACK_NATS_MAX_BYTES"]; max != fmt.Sprint(js.FileStore.MaxSize.Value()) {
		t.Errorf("TIEBACK_NATS_MAX_BYTES is %s, JetStream has %d", max, js.FileStore.MaxSize.Value())
	}
	if v.FullnameOverride != "nats" || !v.PodDisruptionBudget.Enabled || v.PromExporter.Enabled || v.NATSBox.Enabled {
		t.Errorf("%+v", v)
	}
	apart := v.PodTemplate.Merge.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if len(apart) != 1 || apart[0].TopologyKey != corev1.LabelHostname || !selects(t, apart[0].LabelSelector, map[string]string{"app.kubernetes.io/name": "nats"}) {
		t.Errorf("two nodes may share a machine: %+v", apart)
	}
	if _, zones := v.PodTemplate.TopologySpreadConstraints[corev1.LabelTopologyZone]; !zones {
		t.Error("all nodes may share a zone")
	}
	local := build(t, variant{overlay: "local"})
	for _, p := range pods(t, local) {
		if p.name == "nats" && p.spec.Containers[0].Image != "nats:"+v.Container.Image.Tag {
			t.Errorf("production runs NATS %s, the local overlay %s", v.Container.Image.Tag, p.spec.Containers[0].Image)
		}
	}
	if over := chart(t, "tls.yaml"); !over.Config.NATS.TLS.Enabled || !over.Config.Cluster.TLS.Enabled || !over.TLSCA.Enabled {
		t.Errorf("TLS: %+v", over)
	}
}

// The namespace admits the chart's pods with these values.
func TestNATSPodsAreRestricted(t *testing.T) {
	v := chart(t, "values.yaml")
	spec := v.PodTemplate.Merge.Spec
	for name, c := range map[string]corev1.Container{"nats": v.Container.Merge, "reloader": v.Reloader.Merge} {
		c.Name = name
		spec.Containers = append(spec.Containers, c)
		if c.Resources.Limits.Memory().IsZero() || c.Resources.Limits.Cpu().IsZero() || !*c.SecurityContext.ReadOnlyRootFilesystem {
			t.Errorf("%s: %+v", name, c)
		}
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range evaluator.EvaluatePod(psa.LevelVersion{Level: psa.LevelRestricted, Version: psa.LatestVersion()}, &metav1.ObjectMeta{}, &spec) {
		if !r.Allowed {
			t.Errorf("%s: %s", r.ForbiddenReason, r.ForbiddenDetail)
		}
	}
	mount, volume := v.Container.Patch[0], v.PodTemplate.Patch[0]
	if mount.Op != "add" || mount.Path != "/volumeMounts/-" || volume.Op != "add" || volume.Path != "/spec/volumes/-" ||
		mount.Value.Name != volume.Value.Name || !made[volume.Value.Secret.SecretName] || !strings.HasPrefix(mount.Value.MountPath, "/etc/") {
		t.Errorf("users.conf is mounted as %+v, %+v", mount, volume)
	}
}

// nats-server accepts the configurations of both brokers, with the users file that provisioner writes.
func TestNATSAcceptsConfiguration(t *testing.T) {
	v := chart(t, "values.yaml")
	mounted := v.Container.Patch[0].Value.MountPath
	conf := map[string]any{"jetstream": v.Config.JetStream.Merge}
	maps.Copy(conf, v.Config.Merge)
	for where, text := range map[string]string{"the chart's values": format(conf), "the local overlay": config(t)} {
		t.Run(where, func(t *testing.T) {
			dir := t.TempDir()
			// The chart's configuration is in /etc/nats-config, the local one in /etc/nats; users.conf is beside both.
			write(t, filepath.Join(dir, "etc/nats-config/nats.conf"), []byte(text))
			write(t, filepath.Join(dir, mounted, "users.conf"), users(t))
			o, err := server.ProcessConfigFile(filepath.Join(dir, "etc/nats-config/nats.conf"))
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if !o.SyncAlways || o.MaxPayload != 8<<20 || len(o.Nkeys) != len(topology.Users()) {
				t.Errorf("sync_interval always: %v, %d bytes per message, %d users", o.SyncAlways, o.MaxPayload, len(o.Nkeys))
			}
		})
	}
}

// config returns nats.conf of the local overlay.
func config(t *testing.T) string {
	t.Helper()
	for name, m := range of[*corev1.ConfigMap](build(t, variant{overlay: "local"})) {
		if strings.HasPrefix(name, "nats-") {
			return m.Data["nats.conf"]
		}
	}
	t.Fatal("no nats.conf")
	return ""
}

// format formats values as the chart does: << X >> becomes X without quotes, and a key that ends in $include an include.
func format(conf map[string]any) string {
	var out strings.Builder
	for _, key := range slices.Sorted(maps.Keys(conf)) {
		switch v := conf[key].(type) {
		case map[string]any:
			fmt.Fprintf(&out, "%s {\n%s}\n", key, format(v))
		case string:
			if strings.HasSuffix(key, "$include") {
				fmt.Fprintf(&out, "include %s;\n", v)
				continue
			}
			if plain, ok := strings.CutPrefix(v, "<< "); ok {
				fmt.Fprintf(&out, "%s: %s\n", key, strings.TrimSuffix(plain, " >>"))
				continue
			}
			fmt.Fprintf(&out, "%s: %q\n", key, v)
		}
	}
	return out.String()
}

func users(t *testing.T) []byte {
	t.Helper()
	keys := map[string][]string{}
	for _, user := range topology.Users() {
		pair, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		key, err := pair.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		keys[user] = []string{key}
	}
	file, err := topology.UsersFile(keys)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
