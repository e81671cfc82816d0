package kubernetes

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/pkg/golden"
	"github.com/tieback/tieback/pkg/telemetry"
)

// chartVersion returns the version of the images that the chart installs. Outside of a release it is that of all binaries, dev, and
// make release sets both: the version is named once.
func chartVersion(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(helmChart + "/Chart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c struct{ Version, AppVersion string }
	if err := yaml.Unmarshal(raw, &c); err != nil {
		t.Fatal(err)
	}
	if c.AppVersion != telemetry.Unreleased || c.Version != "0.0.0-"+c.AppVersion {
		t.Errorf("the chart has the version %q, the images %q, and the binaries %q", c.Version, c.AppVersion, telemetry.Unreleased)
	}
	return c.AppVersion
}

func TestLint(t *testing.T) {
	each(t, func(t *testing.T, v variant, _ built) {
		args := []string{"lint", "--strict", "--quiet"}
		if out, err := helm(t, append(args, v.args()[1:]...)...); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

func TestEachExampleIsRendered(t *testing.T) {
	files, err := filepath.Glob(helmChart + "/examples/*.yaml")
	if err != nil || len(files) < 6 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".yaml")
		if !slices.ContainsFunc(variants(), func(v variant) bool { return v.example == name && v.set == nil }) {
			t.Errorf("no variant renders %s", f)
		}
	}
}

// The manifests for kubectl are the chart's.
func TestRendered(t *testing.T) {
	for _, name := range []string{"local.yaml", "production.yaml"} {
		v := variantOf(t, name)
		golden.Compare(t, filepath.Join(manifests, name), head("the output of\n#\n#\thelm template tieback deploy/helm/tieback -n tieback -f deploy/helm/tieback/examples/"+
			v.example+".yaml --set namespace.create=true")+render(t, v))
	}
	text, err := helm(t, append([]string{"template", "--show-only", "templates/namespace.yaml"}, variantOf(t, "local.yaml").args()...)...)
	if err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, filepath.Join(manifests, "namespace.yaml"), head("the namespace of local.yaml and production.yaml")+text)
}

func head(of string) string {
	return "# Code generated from deploy/helm/tieback by make generate; DO NOT EDIT. It is " + of + "\n"
}

// helm names the value that it refuses.
func TestWrongValuesAreRefused(t *testing.T) {
	for set, want := range map[string]string{
		"ingres.type=nginx":                              "additional properties 'ingres' not allowed",
		"ingress.type=traefik":                           "at '/ingress/type': value must be one of 'none', 'nginx', 'openshift', 'alb', 'agic', 'gateway'",
		"services.console.replicas=2":                    "at '/services/console': additional properties 'replicas' not allowed",
		"services.status-reporter.replicas=2":            "at '/services/status-reporter': additional properties 'replicas' not allowed",
		"services.ingest.replicas=0":                     "at '/services/ingest/replicas': minimum: got 0, want 1",
		"resources.limits.memory=512M":                   "at '/resources/limits/memory'",
		"image.digests.ingres=sha256:0":                  "at '/image/digests': additional properties 'ingres' not allowed",
		"image.digests.ingest=sha256:0":                  "at '/image/digests/ingest'",
		"settings.LOG_LEVEL=debug":                       "at '/settings': additional properties 'LOG_LEVEL' not allowed",
		"fullnameOverride=Blue":                          "at '/fullnameOverride'",
		"networkPolicies.erp[0].to[0].ipBlock.cidr=::/0": "at '/networkPolicies/erp/0': missing property 'ports'",
		"nats.replicas=9":                                "at '/nats/replicas': maximum: got 9, want 5",
		"autoscaling.min=1":                              "at '/autoscaling/min': minimum: got 1, want 2",

		"keys.manage=true,secrets.keys=mine":                                  "keys.manage creates the Secrets of the keys",
		"keys.rotation=1x":                                                    "keys.rotation: set keys.manage",
		"keys.rotation=A":                                                     "at '/keys/rotation'",
		"ingress.type=nginx":                                                  "ingress.type is nginx: set ingress.host",
		"ingress.type=alb,ingress.host=a.example.com":                         "ingress.type is alb: set networkPolicies.ingress",
		"ingress.type=gateway,ingress.host=a.example.com":                     "networkPolicies.ingress",
		"ingress.type=gateway,ingress.host=a.b,networkPolicies.enabled=false": "set ingress.gateway.name",
		"console.ingress.enabled=true":                                        "set ingress.type, and console.ingress.host",
		"secrets.externalSecrets.enabled=true":                                "set secrets.externalSecrets.store",
		"nats.create=true,nats.replicas=2":                                    "nats.replicas is 2",
		"nats.create=true,nats.maxStore=50Gi":                                 "nats.maxStore must be below nats.storage.size",
		"nats.tls.enabled=true":                                               "nats.url begins with tls://",
		"backup.enabled=true":                                                 "set backup.location, and backup.recipients",
		"backup.enabled=true,backup.location=s3://a/b":                        "set backup.location, and backup.recipients",
		"backup.enabled=true,backup.location=/x,backup.recipients[0]=age1a":   "set backup.volume",
		"backup.recipients[0]=AGE-SECRET-KEY-1A":                              "at '/backup/recipients/0'",
		"backup.schedule=daily":                                               "at '/backup/schedule'",
		"autoscaling.type=hpa,autoscaling.max=2":                              "autoscaling.max must be above autoscaling.min",
	} {
		_, err := helm(t, "template", "tieback", helmChart, "--set", set)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", set, err, want)
		}
	}
}

// With other names nothing of the default ones is left: only the keys of labels, paths in the pods, variables, the registry, and
// the rules, which have the product's name.
func TestOtherNamesLeaveNoDefaultName(t *testing.T) {
	known := regexp.MustCompile(`tieback/(broker|procore|erp|storage|metrics|settings|config)\b|/etc/tieback(-[a-z]+)?\b|ghcr\.io/tieback/|tieback_consumer_lag_messages|image: \S+/tieback:|app\.kubernetes\.io/name: tieback$|/tieback\.nk$|-nkey-tieback,`) // the last: the operator's key
	for _, d := range documents(render(t, variantOf(t, "other names"))) {
		if strings.Contains(d, "kind: PrometheusRule\n") {
			continue
		}
		for _, line := range strings.Split(d, "\n") {
			code, _, _ := strings.Cut(line, "# ")
			if rest := known.ReplaceAllString(code, ""); strings.Contains(rest, "tieback") {
				t.Errorf("%s", line)
			}
		}
	}
}

// The store of External Secrets has an entry for each Secret that a pod mounts, by the Secret's name.
func TestExternalSecrets(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		external := of[*ExternalSecret](b)
		if len(external) > 0 != v.with("external") {
			t.Fatalf("%d external secrets", len(external))
		}
		for name, s := range external {
			if s.Spec.SecretStoreRef.Name == "" || s.Spec.Target.Name != s.Name {
				t.Errorf("%s: %+v", name, s.Spec)
			}
			for _, d := range s.Spec.Data {
				if d.RemoteRef.Key != s.Name {
					t.Errorf("%s reads %s", name, d.RemoteRef.Key)
				}
			}
			for _, d := range s.Spec.DataFrom {
				if d.Extract.Key != s.Name {
					t.Errorf("%s reads %s", name, d.Extract.Key)
				}
			}
			if len(s.Spec.Data)+len(s.Spec.DataFrom) != 1 {
				t.Errorf("%s: %+v", name, s.Spec)
			}
			if !slices.ContainsFunc(pods(t, b), func(p pod) bool { return sees(p, name) }) {
				t.Errorf("no pod mounts %s", name)
			}
			if key, isKey := strings.CutPrefix(name, "nkey-"); isKey && (!slices.Contains(append(topology.Users(), "backup"), key) || s.Spec.Data[0].SecretKey != key+".nk") {
				t.Errorf("%s has %s", name, s.Spec.Data[0].SecretKey)
			}
		}
	})
}

// route is an Ingress or an HTTPRoute.
type route struct {
	host, path, service string
	port                int32
}

func routes(t *testing.T, v variant, b built) map[string]route {
	t.Helper()
	services := of[*corev1.Service](b)
	all := map[string]route{}
	for name, in := range of[*networkingv1.Ingress](b) {
		rule := in.Spec.Rules[0]
		path := rule.HTTP.Paths[0]
		r := route{host: rule.Host, path: path.Path, service: strings.TrimPrefix(path.Backend.Service.Name, v.prefix+"-")}
		for _, p := range services[r.service].Spec.Ports {
			if p.Name == path.Backend.Service.Port.Name {
				r.port = p.Port
			}
		}
		all[name] = r
	}
	for name, h := range of[*gatewayv1.HTTPRoute](b) {
		rule := h.Spec.Rules[0]
		all[name] = route{host: string(h.Spec.Hostnames[0]), path: *rule.Matches[0].Path.Value,
			service: strings.TrimPrefix(string(rule.BackendRefs[0].Name), v.prefix+"-"), port: int32(*rule.BackendRefs[0].Port)}
	}
	return all
}

func TestRoutes(t *testing.T) {
	class := map[string]string{"type-nginx": "nginx", "type-openshift": "openshift-default", "type-alb": "alb", "type-agic": "azure-application-gateway"}
	each(t, func(t *testing.T, v variant, b built) {
		have := routes(t, v, b)
		want := map[string]route{}
		if v.with("ingress") {
			want["ingest"] = route{path: "/webhooks/procore", service: "ingest", port: 8080}
		}
		if v.with("console-ingress") {
			want["console"] = route{path: "/", service: "console", port: 8090}
		}
		if len(have) != len(want) {
			t.Errorf("routes: %v", have)
		}
		for name, w := range want {
			w.host = have[name].host
			if have[name] != w || w.host == "" {
				t.Errorf("%s: %+v, want %+v", name, have[name], w)
			}
		}
		for name, in := range of[*networkingv1.Ingress](b) {
			a := in.Annotations
			for feature, c := range class {
				if v.with(feature) && *in.Spec.IngressClassName != c {
					t.Errorf("%s has the class %s", name, *in.Spec.IngressClassName)
				}
			}
			tls := len(in.Spec.TLS) == 1 && slices.Contains(in.Spec.TLS[0].Hosts, in.Spec.Rules[0].Host) && in.Spec.TLS[0].SecretName == v.prefix+"-"+name+"-tls" ||
				v.with("type-alb") && a["alb.ingress.kubernetes.io/listen-ports"] == `[{"HTTPS": 443}]` ||
				v.with("type-agic") && a["appgw.ingress.kubernetes.io/appgw-ssl-certificate"] != ""
			if !tls {
				t.Errorf("%s: no TLS: %v", name, a)
			}
			if v.with("issuer") && a["cert-manager.io/cluster-issuer"] == "" {
				t.Errorf("%s: no issuer", name)
			}
			if v.with("probed") && a["alb.ingress.kubernetes.io/healthcheck-port"]+a["appgw.ingress.kubernetes.io/health-probe-port"] != "9090" {
				t.Errorf("%s: checked at %v", name, a)
			}
			if scheme := a["alb.ingress.kubernetes.io/scheme"]; v.with("type-alb") && (scheme == "internet-facing") != (name == "ingest") {
				t.Errorf("%s is %s", name, scheme)
			}
		}
		for name, h := range of[*gatewayv1.HTTPRoute](b) {
			if p := h.Spec.ParentRefs; len(p) != 1 || p[0].Name != "external-https" || string(*p[0].Namespace) != "gateways" {
				t.Errorf("%s: %+v", name, p)
			}
			check := of[*HealthCheckPolicy](b)[name]
			if check == nil || check.Spec.TargetRef.Name != v.prefix+"-"+name || check.Spec.Default.Config.HTTPHealthCheck.Port != 9090 {
				t.Errorf("%s: GKE checks %+v", name, check)
			}
		}
	})
}

// A certificate of the cluster replaces the one of the gateway, and settings reach the pods.
func TestValuesReachManifests(t *testing.T) {
	v := variantOf(t, "aks")
	v.name = "aks with certificate of the cluster"
	v.set = []string{"ingress.tls.certificate=", "ingress.tls.issuer=letsencrypt", "ingress.className=private", "settings.TIEBACK_LOG_LEVEL=debug",
		"services.export.resources.limits.memory=2Gi", "pods.priorityClassName=high", "secrets.companies=acme-companies", "secrets.keys=acme-key", "ingress.annotations.a=b"}
	b := build(t, v)
	in := of[*networkingv1.Ingress](b)["ingest"]
	if len(in.Spec.TLS) != 1 || in.Annotations["cert-manager.io/cluster-issuer"] != "letsencrypt" || *in.Spec.IngressClassName != "private" || in.Annotations["a"] != "b" {
		t.Errorf("%+v", in)
	}
	for _, p := range pods(t, b) {
		env := environment(t, b, p)
		if p.service() && env["TIEBACK_LOG_LEVEL"] != "debug" {
			t.Errorf("%s: %v", p.name, env)
		}
		if want := map[bool]string{true: "1843MiB", false: "460MiB"}[p.name == "export"]; p.service() && env["GOMEMLIMIT"] != want {
			t.Errorf("%s: GOMEMLIMIT is %s, want %s", p.name, env["GOMEMLIMIT"], want)
		}
		if p.service() && p.spec.PriorityClassName != "high" {
			t.Errorf("%s has the priority class %q", p.name, p.spec.PriorityClassName)
		}
		for _, volume := range p.spec.Volumes {
			if s := volume.Secret; s != nil && (volume.Name == "companies" && s.SecretName != "acme-companies" || volume.Name == "key" && s.SecretName != "acme-key-"+p.name) {
				t.Errorf("%s mounts %s", p.name, s.SecretName)
			}
		}
	}
}

// A Job cannot be changed, so each install, upgrade and change of the settings creates one of another name.
func TestProvisionerRunsAgain(t *testing.T) {
	name := func(v variant) string {
		if j := of[*batchv1.Job](build(t, v))["provisioner"]; j != nil {
			a := j.Annotations
			if a["argocd.argoproj.io/hook"] != "Sync" || a["argocd.argoproj.io/hook-delete-policy"] != "BeforeHookCreation" {
				t.Errorf("annotations: %v", a)
			}
			return j.Name
		}
		t.Fatal("no job")
		return ""
	}
	v := variantOf(t, "local")
	first := name(v)
	for _, set := range []string{"settings.TIEBACK_LOG_LEVEL=debug", "image.tag=9.9.9", "services.provisioner.resources.limits.memory=256Mi"} {
		v.name, v.set = set, []string{set}
		if name(v) == first {
			t.Errorf("%s: the Job has the same name", set)
		}
	}
}

// The Jobs of the keys may read and change the secrets of the keys, and no others. The first runs before everything else.
func TestKeys(t *testing.T) {
	secrets := []string{"tieback-keys", "tieback-nats-users"}
	for _, user := range slices.Concat(topology.Users(), topology.CopyUsers()) {
		secrets = append(secrets, "tieback-nkey-"+user)
	}
	slices.Sort(secrets)
	each(t, func(t *testing.T, v variant, b built) {
		hooks, jobs := 0, 0
		for _, o := range b {
			a := o.GetAnnotations()
			if (a["helm.sh/hook"] != "") != (a["argocd.argoproj.io/hook"] == "PreSync") {
				t.Errorf("%s %s: %v", o.kind, o.GetName(), a)
			}
			if a["helm.sh/hook"] != "" {
				hooks++
				if a["helm.sh/hook"] != "pre-install,pre-upgrade" || a["helm.sh/hook-delete-policy"] != "before-hook-creation" || (a["helm.sh/hook-weight"] == "-5") != (o.kind == "Job") {
					t.Errorf("%s %s: %v", o.kind, o.GetName(), a)
				}
			}
			switch typed := o.typed.(type) {
			case *rbacv1.Role:
				names := slices.Sorted(slices.Values(typed.Rules[1].ResourceNames))
				if len(typed.Rules) != 2 || !slices.Equal(typed.Rules[0].Verbs, []string{"create"}) || !slices.Equal(typed.Rules[1].Verbs, []string{"get", "patch"}) ||
					!slices.Equal(names, secrets) || !slices.Equal(typed.Rules[1].Resources, []string{"secrets"}) {
					t.Errorf("%+v", typed.Rules)
				}
			case *rbacv1.RoleBinding:
				if s := typed.Subjects; len(s) != 1 || s[0].Name != "tieback-keys" || s[0].Namespace != v.namespace || typed.RoleRef.Name != "tieback-keys" {
					t.Errorf("%+v", typed)
				}
			case *batchv1.Job:
				if o.name != "keys" {
					continue
				}
				jobs++
				want := []string{"cluster-keys", "tieback"}
				if a["helm.sh/hook"] == "" {
					want = []string{"cluster-keys", "--rotation=2026-12", "tieback"}
				}
				if v.with("backup") {
					want = slices.Insert(want, 1, "--backup")
				}
				if args := typed.Spec.Template.Spec.Containers[0].Args; !slices.Equal(args, want) || typed.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
					t.Errorf("%s: %q", o.GetName(), args)
				}
			}
		}
		want, wantJobs := 0, 0
		if v.with("keys") {
			want, wantJobs = 5, 2
		}
		if hooks != want || jobs != wantJobs {
			t.Errorf("%d objects are hooks, %d jobs", hooks, jobs)
		}
	})
}

// Argo CD starts the services after the provisioner has ended, and the provisioner after the broker is ready.
func TestArgoWaves(t *testing.T) {
	each(t, func(t *testing.T, _ variant, b built) {
		for _, o := range b {
			want := ""
			if o.name == "keys" {
				continue // see TestKeys
			}
			switch o.typed.(type) {
			case *batchv1.Job:
				want = "1"
			case *appsv1.Deployment, *appsv1.StatefulSet:
				if want = "2"; o.name == "nats" || o.name == "sandbox" || o.name == "ledger" {
					want = ""
				}
			case *networkingv1.Ingress, *gatewayv1.HTTPRoute, *ScaledObject:
				want = "3"
			default:
				if o.kind == "HorizontalPodAutoscaler" {
					want = "3"
				}
			}
			if have := o.GetAnnotations()["argocd.argoproj.io/sync-wave"]; have != want {
				t.Errorf("%s %s is in the wave %q, want %q", o.kind, o.GetName(), have, want)
			}
		}
	})
}

// A change of the settings restarts the pods that read them.
func TestSettingsRestartPods(t *testing.T) {
	v := variantOf(t, "local")
	changed := v
	changed.name, changed.set = "local with other settings", []string{"settings.TIEBACK_LOG_LEVEL=debug"}
	before := map[string]string{}
	for _, p := range pods(t, build(t, v)) {
		before[p.name] = p.meta.Annotations["tieback/settings"]
	}
	for _, p := range pods(t, build(t, changed)) {
		if p.service() && p.meta.Annotations["tieback/settings"] == before[p.name] {
			t.Errorf("%s is not restarted", p.name)
		}
	}
}

// The admission of OpenShift sets the user ids of the namespace, and refuses others.
func TestOpenShiftAssignsUsers(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		for _, p := range pods(t, b) {
			s := p.spec.SecurityContext
			if fixed := s.RunAsUser != nil || s.RunAsGroup != nil || s.FSGroup != nil; fixed == v.with("openshift") {
				t.Errorf("%s: %+v", p.name, s)
			}
		}
	})
}
