package kubernetes

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/settings"
	"github.com/tieback/tieback/pkg/telemetry"
)

// environment returns the environment variables of a pod.
func environment(t *testing.T, b built, p pod) map[string]string {
	t.Helper()
	env := map[string]string{}
	for _, c := range p.spec.Containers {
		for _, from := range c.EnvFrom {
			for name, value := range of[*corev1.ConfigMap](b)[strings.TrimPrefix(from.ConfigMapRef.Name, p.prefix)].Data {
				env[name] = value
			}
		}
		for _, e := range c.Env {
			env[e.Name] = e.Value
		}
	}
	return env
}

// Each command of a service has a pod.
func TestEveryServiceHasPod(t *testing.T) {
	folders, err := filepath.Glob(root + "/services/*/cmd/*")
	if err != nil {
		t.Fatal(err)
	}
	var programs []string
	for _, f := range folders {
		if name := filepath.Base(f); name != "sandbox" {
			programs = append(programs, name)
		}
	}
	slices.Sort(programs)
	each(t, func(t *testing.T, v variant, b built) {
		var run []string
		for _, p := range pods(t, b) {
			if p.service() || p.name == "provisioner" {
				run = append(run, p.name)
			}
		}
		slices.Sort(run)
		want := slices.DeleteFunc(slices.Clone(programs), func(name string) bool { return name == "console" && !v.with("console") })
		if !slices.Equal(run, want) {
			t.Errorf("pods: %v; commands: %v", run, want)
		}
	})
}

func TestSettings(t *testing.T) {
	known := map[string]bool{"GOMEMLIMIT": true, "POD_NAME": true, "AWS_SHARED_CREDENTIALS_FILE": true} // of the Go runtime, of nats.conf, and of S3's client
	if _, err := settings.Load(func(name string) string { known[name] = true; return "" }); err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, v variant, b built) {
		for _, p := range pods(t, b) {
			env := environment(t, b, p)
			if p.name == "sandbox" {
				continue // see TestSandboxHasCompany
			}
			for name := range env {
				if !known[name] {
					t.Errorf("%s: unknown variable %s", p.name, name)
				}
			}
			s, err := settings.Load(func(name string) string { return env[name] })
			if err != nil {
				t.Errorf("%s: %v", p.name, err)
			}
			if env["TIEBACK_NATS_NKEY_FILE"] == "" {
				continue
			}
			broker := "nats://nats:4222"
			switch {
			case v.with("nats"):
				broker = "nats://" + p.prefix + "nats:4222"
			case v.with("elsewhere"):
				broker = "nats://nats.messaging:4222"
			}
			if v.with("tls") {
				broker = strings.Replace(broker, "nats://", "tls://", 1)
			}
			if s.NATSURL != broker || (s.NATSCAFile != "") != v.with("tls") {
				t.Errorf("%s: broker %s, want %s; CA %q", p.name, s.NATSURL, broker, s.NATSCAFile)
			}
			if v.with("tls") && !mounted(p, "nats-ca", filepath.Dir(s.NATSCAFile)) {
				t.Errorf("%s: %s is not mounted", p.name, s.NATSCAFile)
			}
			if s.Replicas == 3 != v.with("three") || s.MaxBytes == 0 {
				t.Errorf("%s: streams have %d replicas and up to %d bytes", p.name, s.Replicas, s.MaxBytes)
			}
			if p.service() && !(hasPort(p, "admin", port(t, s.AdminAddr)) && (p.name != "ingest" || hasPort(p, "http", port(t, s.IngestAddr))) && (p.name != "console" || hasPort(p, "http", port(t, s.ConsoleAddr)))) {
				t.Errorf("%s listens on %s and %s", p.name, s.AdminAddr, s.IngestAddr)
			}
			if ingest := p.name == "ingest"; ingest != (s.Companies == "" && s.Webhooks != "") || ingest != sees(p, "webhooks") || ingest && !mounted(p, "webhooks", filepath.Dir(s.Webhooks)) {
				t.Errorf("%s: webhook hashes %q; mounts the secret: %v", p.name, s.Webhooks, sees(p, "webhooks"))
			}
			if console := p.name == "console"; console != sees(p, "console") || console != (s.ConsoleAccess != "") || console && !mounted(p, "console", filepath.Dir(s.ConsoleAccess)) {
				t.Errorf("%s: access file %q; mounts the secret: %v", p.name, s.ConsoleAccess, sees(p, "console"))
			}
			if needs := !slices.Contains([]string{"lag-exporter", "provisioner", "ingest", "backup"}, p.name); needs != (s.Companies != "") || needs != sees(p, "companies") {
				t.Errorf("%s: companies file %q; mounts the secret: %v", p.name, s.Companies, sees(p, "companies"))
			}
		}
	})
}

func port(t *testing.T, addr string) int32 {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return int32(a.Port) //nolint:gosec // a port
}

func sees(p pod, secret string) bool {
	return slices.ContainsFunc(p.spec.Volumes, func(v corev1.Volume) bool { return v.Secret != nil && v.Secret.SecretName == p.prefix+secret })
}

// mounted reports whether a pod mounts a secret at a folder.
func mounted(p pod, secret, folder string) bool {
	return slices.ContainsFunc(p.spec.Volumes, func(v corev1.Volume) bool {
		return v.Secret != nil && v.Secret.SecretName == p.prefix+secret && slices.ContainsFunc(p.spec.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool {
			return m.Name == v.Name && m.MountPath == folder
		})
	})
}

// Without TLS the secret nats-ca does not exist.
func TestOnlyTLSNeedsCA(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		for _, p := range pods(t, b) {
			for _, volume := range p.spec.Volumes {
				if s := volume.Secret; s != nil && s.SecretName == p.prefix+"nats-ca" && !v.with("tls") {
					t.Errorf("%s waits for nats-ca forever", p.name)
				}
			}
		}
	})
}

func TestSandboxHasCompany(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		secrets := of[*corev1.Secret](b)
		if !v.with("sandbox") {
			if len(secrets) > 0 {
				t.Errorf("the chart has secrets: %v", slices.Collect(maps.Keys(secrets)))
			}
			return
		}
		set, err := company.Parse([]byte(secrets["companies"].StringData["companies.yaml"]))
		if err != nil {
			t.Fatal(err)
		}
		sandbox := secrets["sandbox"].StringData["sandbox.yaml"]
		for id, c := range set {
			if !c.Authentic(field(t, sandbox, "webhook_token")) {
				t.Errorf("the sandbox's token is not of company %d", id)
			}
			if url := field(t, sandbox, "webhook_url"); url != "http://"+v.prefix+"-ingest:8080/webhooks/procore/598134325841112" || id != 598134325841112 {
				t.Errorf("the sandbox delivers to %s, for company %d", url, id)
			}
		}
		// The hashes are of the tokens of the sandbox's company and of the console's operator.
		for text, token := range map[string]string{
			secrets["webhooks"].StringData["webhooks.json"]: "only-for-the-sandbox-token",
			secrets["console"].StringData["access.yaml"]:    "only-for-the-sandbox-console",
		} {
			if !strings.Contains(text, fmt.Sprintf("%x", sha256.Sum256([]byte(token)))) {
				t.Errorf("no hash of %s in %s", token, text)
			}
		}
	})
}

// field returns the value after "name: " in a flat YAML file.
func field(t *testing.T, text, name string) string {
	t.Helper()
	_, after, found := strings.Cut(text, name+": ")
	if !found {
		t.Fatalf("no %s", name)
	}
	value, _, _ := strings.Cut(after, "\n")
	return value
}

// The grace period is at least twice the measured time that a server needs to end.
func TestGracePeriod(t *testing.T) {
	drain := drained(t)
	eachPod(t, func(t *testing.T, p pod) {
		if !p.service() {
			return
		}
		wait := time.Duration(0)
		if l := p.spec.Containers[0].Lifecycle; l != nil {
			wait = time.Duration(l.PreStop.Sleep.Seconds) * time.Second
		}
		if p.name == "ingest" && wait < 5*time.Second {
			t.Error("the ingress controller has no time to notice that the pod ends")
		}
		if grace := time.Duration(*p.spec.TerminationGracePeriodSeconds) * time.Second; grace < wait+2*drain {
			t.Errorf("the grace period is %s, %s of it before SIGTERM; a server needs up to %s", grace, wait, drain)
		}
	})
}

// drained measures the time in which a server ends while a request is in flight.
func drained(t *testing.T) time.Duration {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	began := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- telemetry.Serve(ctx, l, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(began)
			<-r.Context().Done()
		}))
	}()
	go func() {
		if resp, err := http.Get("http://" + l.Addr().String()); err == nil {
			resp.Body.Close()
		}
	}()
	<-began
	start := time.Now()
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}
