package kubernetes

import (
	"os"
	"path/filepath"
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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	root      = "../../.."
	manifests = root + "/deploy/kubernetes"
	namespace = "tieback"
)

// variant is what `kubectl apply -k` may be given: a base or overlay, with components.
type variant struct {
	overlay    string // base, local, production
	components []string
}

func (v variant) String() string {
	return strings.Join(append([]string{v.overlay}, v.components...), "+")
}

func (v variant) with(component string) bool {
	for _, c := range v.components {
		if c == component {
			return true
		}
	}
	return false
}

// variants returns all combinations: keda and hpa exclude each other, and the local NATS has no TLS.
func variants() []variant {
	all := []variant{{overlay: "base"}}
	for _, overlay := range []string{"local", "production"} {
		for _, scaling := range []string{"", "keda", "hpa"} {
			for _, monitoring := range []string{"", "monitoring"} {
				for _, tls := range []string{"", "tls"} {
					if overlay == "local" && tls != "" {
						continue
					}
					v := variant{overlay: overlay}
					for _, c := range []string{monitoring, scaling, tls} {
						if c != "" {
							v.components = append(v.components, c)
						}
					}
					all = append(all, v)
				}
			}
		}
	}
	return all
}

// object is a manifest in its type of the API.
type object struct {
	metav1.Object
	typed runtime.Object
	kind  string
}

// built has the manifests of a variant.
type built []object

var cache = struct {
	sync.Mutex
	of map[string]built
}{of: map[string]built{}}

// each runs a test on every variant.
func each(t *testing.T, test func(*testing.T, variant, built)) {
	t.Helper()
	for _, v := range variants() {
		t.Run(v.String(), func(t *testing.T) { test(t, v, build(t, v)) })
	}
}

// build builds a variant once for all tests.
func build(t *testing.T, v variant) built {
	t.Helper()
	cache.Lock()
	defer cache.Unlock()
	if b, ok := cache.of[v.String()]; ok {
		return b
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), entry(t, v))
	if err != nil {
		t.Fatal(err)
	}
	var b built
	for _, r := range resources.Resources() {
		raw, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, decode(t, raw))
	}
	cache.of[v.String()] = b
	return b
}

// entry returns the folder to build: the overlay, or a folder that adds components as a user does.
func entry(t *testing.T, v variant) string {
	overlay := filepath.Join(manifests, "overlays", v.overlay)
	if v.overlay == "base" {
		overlay = filepath.Join(manifests, "base")
	}
	if v.components == nil {
		return overlay
	}
	dir := t.TempDir()
	relative := func(path string) string {
		absolute, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		path, err = filepath.Rel(dir, absolute)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	k := map[string]any{"resources": []string{relative(overlay)}}
	var components []string
	for _, c := range v.components {
		components = append(components, relative(filepath.Join(manifests, "components", c)))
	}
	k["components"] = components
	raw, err := yaml.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

var decoder = func() runtime.Decoder {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, autoscalingv2.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme,
		networkingv1.AddToScheme, policyv1.AddToScheme, monitoringv1.AddToScheme, addKEDA,
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
	return object{Object: typed.(metav1.Object), typed: typed, kind: kind.Kind}
}

func TestManifestsDecode(t *testing.T) {
	each(t, func(t *testing.T, _ variant, b built) {
		seen := map[string]bool{}
		for _, o := range b {
			id := o.kind + "/" + o.GetName()
			if seen[id] {
				t.Errorf("%s exists twice", id)
			}
			seen[id] = true
			if o.kind != "Namespace" && o.GetNamespace() != namespace {
				t.Errorf("%s is in namespace %q", id, o.GetNamespace())
			}
		}
	})
}

// of returns the objects of a type by name.
func of[T any](b built) map[string]T {
	all := map[string]T{}
	for _, o := range b {
		if typed, ok := o.typed.(T); ok {
			all[o.GetName()] = typed
		}
	}
	return all
}
