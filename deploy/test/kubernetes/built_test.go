package kubernetes

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	root      = "../../.."
	manifests = root + "/deploy/kubernetes"
	helmChart = root + "/deploy/helm/tieback"
)

// variant is one way to install the chart.
type variant struct {
	name     string
	example  string   // file of the chart's examples, without .yaml; "": the chart's default values
	set      []string // further values, as of helm --set
	features []string // that the values have; see variants

	release, namespace, prefix string // default: tieback
}

func (v variant) String() string { return v.name }

func (v variant) with(feature string) bool { return slices.Contains(v.features, feature) }

// variants are the installations that the tests render. Features:
//
//	namespace    the Namespace is rendered
//	sandbox      the sandbox and the ledger replace Procore and the ERP
//	nats         the broker is of the chart
//	three        streams have three copies
//	machine      three nodes of the broker may share a machine
//	tls          to the broker
//	elsewhere    the broker is outside the namespace
//	ingress      ingest has an ingress or a route, of the type in the feature "type-…"
//	probed       the load balancer checks pods at the admin port
//	console      the console is installed; console-ingress: and reachable from outside
//	erp          the ERP's connector is outside the cluster
//	issuer       cert-manager makes the certificates
//	keys         Jobs manage the broker's keys
//	backup       a CronJob copies the streams; storage: to S3, otherwise to a volume
//	keda, hpa, monitoring, external (External Secrets), openshift, shared (namespace), digests
func variants() []variant {
	nginx := []string{"three", "ingress", "type-nginx", "console", "console-ingress", "erp", "issuer"}
	with := func(features []string, more ...string) []string { return append(slices.Clone(features), more...) }
	all := []variant{
		{name: "default", features: []string{"three", "console"}},
		{name: "local", example: "local", features: []string{"sandbox", "nats", "console"}},
		{name: "nginx", example: "nginx", features: nginx},
		{name: "local.yaml", example: "local", set: []string{"namespace.create=true"}, features: []string{"namespace", "sandbox", "nats", "console"}},
		{name: "production.yaml", example: "nginx", set: []string{"namespace.create=true"}, features: with(nginx, "namespace")},
		{name: "eks", example: "eks", features: []string{"external", "nats", "three", "ingress", "type-alb", "probed", "console", "console-ingress", "erp", "keda", "monitoring"}},
		{name: "aks", example: "aks", features: []string{"external", "nats", "three", "ingress", "type-agic", "probed", "console", "hpa"}},
		{name: "gke", example: "gke", features: []string{"nats", "three", "ingress", "type-gateway", "probed", "console", "console-ingress", "hpa"}},
		{name: "openshift", example: "openshift", features: []string{"openshift", "nats", "three", "ingress", "type-openshift", "console", "console-ingress", "monitoring"}},
		{name: "without a console, broker elsewhere", features: []string{"three", "elsewhere", "monitoring"},
			set: []string{"console.enabled=false", "monitoring.enabled=true", "nats.url=nats://nats.messaging:4222",
				"networkPolicies.broker[0].to[0].namespaceSelector.matchLabels.name=messaging", "networkPolicies.broker[0].ports[0].port=4222"}},
		{name: "TLS to the broker of the chart", set: []string{"nats.create=true", "nats.tls.enabled=true", "secrets.externalSecrets.enabled=true", "secrets.externalSecrets.store=vault"},
			features: []string{"nats", "three", "tls", "console", "external"}},
		{name: "try-full", example: "local", set: []string{"nats.replicas=3", "nats.shareMachines=true"}, features: []string{"sandbox", "nats", "three", "machine", "console"}},
		{name: "backup to S3 with TLS to the broker", features: []string{"nats", "three", "tls", "console", "external", "backup", "storage"},
			set: []string{"nats.create=true", "nats.tls.enabled=true", "secrets.externalSecrets.enabled=true", "secrets.externalSecrets.store=vault", "backup.enabled=true",
				"backup.location=s3://acme/tieback?region=eu-central-1", "backup.recipients[0]=age1a", "backup.recipients[1]=age1b", "backup.secret=tieback-storage"}},
		{name: "keys", example: "local", set: []string{"keys.manage=true", "keys.rotation=2026-12"}, features: []string{"sandbox", "nats", "console", "keys"}},
		{name: "keys and a backup to a volume", example: "openshift", features: []string{"openshift", "nats", "three", "ingress", "type-openshift", "console", "console-ingress", "monitoring", "keys", "backup"},
			set: []string{"keys.manage=true", "keys.rotation=2026-12", "backup.enabled=true", "backup.location=/backup", "backup.recipients[0]=age1a", "backup.volume.persistentVolumeClaim.claimName=backups"}},
		{name: "digests", set: []string{"image.digests.ingest=sha256:" + strings.Repeat("0", 64), "image.pullSecrets[0]=registry", "image.tag=1.2.3"},
			features: []string{"three", "console", "digests"}},
		// Names that have nothing of the default ones.
		{name: "other names", example: "local", set: []string{"fullnameOverride=blue", "nameOverride=pipeline", "namespace.create=true", "networkPolicies.closeNamespace=false", "autoscaling.type=keda", "monitoring.enabled=true"},
			release: "green", namespace: "finance", prefix: "blue",
			features: []string{"namespace", "sandbox", "nats", "console", "keda", "monitoring", "shared"}},
		{name: "release name", example: "aks", set: []string{"secrets.externalSecrets.enabled=false"}, release: "acme", namespace: "acme", prefix: "acme-tieback",
			features: []string{"nats", "three", "ingress", "type-agic", "probed", "console", "hpa"}},
	}
	for _, scaling := range []string{"none", "keda", "hpa"} {
		for _, monitoring := range []string{"false", "true"} {
			for _, tls := range []string{"false", "true"} {
				v := variant{name: "nginx+" + scaling, example: "nginx", features: with(nginx, scaling), set: []string{"autoscaling.type=" + scaling, "monitoring.enabled=" + monitoring}}
				if monitoring == "true" {
					v.name, v.features = v.name+"+monitoring", with(v.features, "monitoring")
				}
				if tls == "true" {
					v.name, v.features, v.set = v.name+"+tls", with(v.features, "tls"), append(v.set, "nats.tls.enabled=true", "nats.url=tls://nats:4222")
				}
				all = append(all, v)
			}
		}
	}
	for i := range all {
		if v := &all[i]; v.release == "" {
			v.release, v.namespace, v.prefix = "tieback", "tieback", "tieback"
		}
	}
	return all
}

// variantOf returns the variant of a name.
func variantOf(t *testing.T, name string) variant {
	t.Helper()
	for _, v := range variants() {
		if v.name == name {
			return v
		}
	}
	t.Fatalf("no variant %s", name)
	return variant{}
}

// object is a manifest in its type of the API.
type object struct {
	metav1.Object
	typed runtime.Object
	kind  string
	name  string // without the prefix of the installation's names; of a Job: the label app.kubernetes.io/name
}

// built has the manifests of a variant.
type built []object

var cache = struct {
	sync.Mutex
	of   map[string]built
	text map[string]string
}{of: map[string]built{}, text: map[string]string{}}

// each runs a test on every variant.
func each(t *testing.T, test func(*testing.T, variant, built)) {
	t.Helper()
	for _, v := range variants() {
		t.Run(v.String(), func(t *testing.T) { test(t, v, build(t, v)) })
	}
}

var helmBinary = sync.OnceValues(func() (string, error) {
	path, err := filepath.Abs(root + "/bin/helm")
	if err != nil {
		return "", err
	}
	make := exec.Command("make", "-s", "-C", root, "bin/helm")
	make.Stderr = os.Stderr
	return path, make.Run()
})

// helm runs the pinned helm, which it builds if it is missing. Without a cluster helm only renders.
func helm(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	path, err := helmBinary()
	if err != nil {
		t.Fatalf("make bin/helm: %v", err)
	}
	var out, errs bytes.Buffer
	c := exec.Command(path, args...)
	c.Env = append(os.Environ(), "KUBECONFIG=/dev/null")
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		return out.String(), &helmError{err: err, text: errs.String()}
	}
	return out.String(), nil
}

type helmError struct {
	err  error
	text string
}

func (e *helmError) Error() string { return e.err.Error() + ": " + e.text }

func (v variant) args() []string {
	args := []string{v.release, helmChart, "--namespace", v.namespace}
	if v.example != "" {
		args = append(args, "--values", helmChart+"/examples/"+v.example+".yaml")
	}
	for _, s := range v.set {
		args = append(args, "--set", s)
	}
	return args
}

// render returns the manifests of a variant as helm prints them.
func render(t *testing.T, v variant) string {
	t.Helper()
	cache.Lock()
	defer cache.Unlock()
	if text, ok := cache.text[v.name]; ok {
		return text
	}
	text, err := helm(t, append([]string{"template"}, v.args()...)...)
	if err != nil {
		t.Fatal(err)
	}
	cache.text[v.name] = text
	return text
}

// build decodes the manifests of a variant, once for all tests.
func build(t *testing.T, v variant) built {
	t.Helper()
	text := render(t, v)
	cache.Lock()
	defer cache.Unlock()
	if b, ok := cache.of[v.name]; ok {
		return b
	}
	var b built
	for _, raw := range documents(text) {
		o := decode(t, []byte(raw))
		o.name = strings.TrimPrefix(o.GetName(), v.prefix+"-")
		if o.kind == "Job" {
			o.name = o.GetLabels()["app.kubernetes.io/name"]
		}
		b = append(b, o)
	}
	cache.of[v.name] = b
	return b
}

// documents splits YAML into its documents, without empty ones.
func documents(text string) (all []string) {
	for _, d := range strings.Split("\n"+text, "\n---\n") {
		if slices.ContainsFunc(strings.Split(d, "\n"), func(line string) bool { return line != "" && !strings.HasPrefix(line, "#") }) {
			all = append(all, d)
		}
	}
	return all
}

var decoder = func() runtime.Decoder {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, autoscalingv2.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme,
		networkingv1.AddToScheme, policyv1.AddToScheme, rbacv1.AddToScheme, monitoringv1.AddToScheme, gatewayv1.Install, addOperators,
	} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
}()

// decode refuses unknown kinds, unknown fields, fields given twice, and values of another type.
func decode(t *testing.T, raw []byte) object {
	t.Helper()
	typed, kind, err := decoder.Decode(raw, nil, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	o := typed.(metav1.Object)
	return object{Object: o, typed: typed, kind: kind.Kind, name: o.GetName()}
}

func TestManifestsDecode(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		seen := map[string]bool{}
		for _, o := range b {
			id := o.kind + "/" + o.GetName()
			if seen[id] {
				t.Errorf("%s exists twice", id)
			}
			seen[id] = true
			if o.kind == "Namespace" {
				if o.GetName() != v.namespace {
					t.Errorf("the namespace is %s", o.GetName())
				}
				continue
			}
			if o.GetNamespace() != v.namespace {
				t.Errorf("%s is in namespace %q", id, o.GetNamespace())
			}
			if !strings.HasPrefix(o.GetName(), v.prefix) || len(o.GetName()) > 63 {
				t.Errorf("%s does not begin with %s, or is too long", id, v.prefix)
			}
			if o.GetLabels()["app.kubernetes.io/instance"] != v.release {
				t.Errorf("%s has the labels %v", id, o.GetLabels())
			}
		}
	})
}

// of returns the objects of a type by name, without the prefix.
func of[T any](b built) map[string]T {
	all := map[string]T{}
	for _, o := range b {
		if typed, ok := o.typed.(T); ok {
			all[o.name] = typed
		}
	}
	return all
}
