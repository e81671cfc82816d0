package kubernetes

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	cryptotls "crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	appsv1 "k8s.io/api/apps/v1"
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
	b := build(t, variantOf(t, "nginx"))
	env := environment(t, b, commandLine(t, b))
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
	for _, p := range pods(t, build(t, variantOf(t, "local"))) {
		if p.name == "nats" && p.spec.Containers[0].Image != "nats:"+v.Container.Image.Tag {
			t.Errorf("the official chart runs NATS %s, ours %s", v.Container.Image.Tag, p.spec.Containers[0].Image)
		}
	}
	if over := chart(t, "tls.yaml"); !over.Config.NATS.TLS.Enabled || !over.Config.Cluster.TLS.Enabled || !over.TLSCA.Enabled {
		t.Errorf("TLS: %+v", over)
	}
}

// The nodes of the chart's broker are on machines of their own, unless the values let them share one.
func TestNodesOfTheBrokerAreApart(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		if !v.with("nats") || !v.with("three") {
			return
		}
		affinity := of[*appsv1.StatefulSet](b)["nats"].Spec.Template.Spec.Affinity
		if v.with("machine") {
			if affinity != nil {
				t.Errorf("the nodes cannot share a machine: %+v", affinity)
			}
			return
		}
		if affinity == nil || len(affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution) != 1 {
			t.Fatalf("two nodes may share a machine: %+v", affinity)
		}
		labels := map[string]string{"app.kubernetes.io/name": "nats", "app.kubernetes.io/instance": v.release}
		if a := affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0]; a.TopologyKey != corev1.LabelHostname || !selects(t, a.LabelSelector, labels) {
			t.Errorf("two nodes may share a machine: %+v", a)
		}
	})
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
		mount.Value.Name != volume.Value.Name || !made[strings.TrimPrefix(volume.Value.Secret.SecretName, "tieback-")] || !strings.HasPrefix(mount.Value.MountPath, "/etc/") {
		t.Errorf("users.conf is mounted as %+v, %+v", mount, volume)
	}
}

// nats-server accepts the configuration of the official chart's values and those of this chart, with the users file that
// provisioner writes.
func TestNATSAcceptsConfiguration(t *testing.T) {
	v := chart(t, "values.yaml")
	mounted := v.Container.Patch[0].Value.MountPath
	conf := map[string]any{"jetstream": v.Config.JetStream.Merge}
	maps.Copy(conf, v.Config.Merge)
	accepts(t, "the official chart's values", format(conf), mounted)
	each(t, func(t *testing.T, v variant, b built) {
		c := of[*corev1.ConfigMap](b)["nats"]
		if c == nil != !v.with("nats") {
			t.Fatalf("configuration of a broker: %v", c != nil)
		}
		if c == nil {
			return
		}
		o := accepts(t, v.name, c.Data["nats.conf"], mounted)
		if o.ServerName != "nats-0" || o.MaxPayload != 8<<20 || o.JetStreamMaxStore == 0 || o.StoreDir != "/data" {
			t.Errorf("%s, %d bytes per message, %d in the store %s", o.ServerName, o.MaxPayload, o.JetStreamMaxStore, o.StoreDir)
		}
		if o.TLSConfig != nil != v.with("tls") || v.with("tls") && (o.Cluster.TLSConfig == nil || o.Cluster.TLSConfig.ClientAuth != cryptotls.RequireAndVerifyClientCert) {
			t.Errorf("TLS: %v", o.TLSConfig != nil)
		}
		s := of[*appsv1.StatefulSet](b)["nats"]
		headless := of[*corev1.Service](b)[strings.TrimPrefix(s.Spec.ServiceName, v.prefix+"-")]
		if headless == nil || headless.Spec.ClusterIP != corev1.ClusterIPNone || !headless.Spec.PublishNotReadyAddresses {
			t.Errorf("the nodes do not find each other by %s", s.Spec.ServiceName)
		}
		var routes []string
		for _, r := range o.Routes {
			routes = append(routes, r.Host)
		}
		var want []string
		for i := range *s.Spec.Replicas {
			want = append(want, fmt.Sprintf("%s-%d.%s:6222", s.Name, i, s.Spec.ServiceName))
		}
		if len(want) > 1 && !slices.Equal(routes, want) || len(want) == 1 && routes != nil {
			t.Errorf("routes %v, want %v", routes, want)
		}
		if disk := s.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests.Storage().Value(); o.JetStreamMaxStore > disk/10*8 {
			t.Errorf("JetStream may fill %d bytes of a disk of %d", o.JetStreamMaxStore, disk)
		}
		if env := environment(t, b, commandLine(t, b)); env["TIEBACK_NATS_MAX_BYTES"] != fmt.Sprint(o.JetStreamMaxStore) {
			t.Errorf("TIEBACK_NATS_MAX_BYTES is %s, JetStream has %d", env["TIEBACK_NATS_MAX_BYTES"], o.JetStreamMaxStore)
		}
	})
}

// accepts returns the options that nats-server reads from a configuration.
func accepts(t *testing.T, where, text, users string) *server.Options {
	t.Helper()
	dir := t.TempDir()
	// The official chart's configuration is in /etc/nats-config, ours in /etc/nats; users.conf is beside both.
	write(t, filepath.Join(dir, users, "users.conf"), usersFile(t))
	if strings.Contains(text, "/etc/nats-tls/") {
		certificate(t, filepath.Join(dir, "etc/nats-tls"))
		text = strings.ReplaceAll(text, "/etc/nats-tls/", filepath.Join(dir, "etc/nats-tls")+"/")
	}
	file := filepath.Join(dir, "etc/nats/nats.conf")
	write(t, file, []byte(text))
	t.Setenv("POD_NAME", "nats-0")
	o, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatalf("%s: %v\n%s", where, err, text)
	}
	if !o.SyncAlways || o.MaxPayload != 8<<20 || len(o.Nkeys) != len(topology.Users()) {
		t.Errorf("%s: sync_interval always: %v, %d bytes per message, %d users", where, o.SyncAlways, o.MaxPayload, len(o.Nkeys))
	}
	return o
}

// certificate writes a certificate of its own authority to a folder, as cert-manager would.
func certificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: cert}, "ca.crt": {Type: "CERTIFICATE", Bytes: cert}, "tls.key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		write(t, filepath.Join(dir, name), pem.EncodeToMemory(block))
	}
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

func usersFile(t *testing.T) []byte {
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
