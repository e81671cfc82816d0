package kubernetes

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

type connection struct{ from, to, port string }

// connections returns the allowed connections of a variant. README.md has the same table.
func connections(v variant) []connection {
	services, everyPod, procore, erp := services, everyPod, procore, erp
	if !v.with("console") {
		without := strings.NewReplacer(" console", "")
		services, everyPod, procore, erp = without.Replace(services), without.Replace(everyPod), without.Replace(procore), without.Replace(erp)
	}
	all := []connection{
		{services + " provisioner tieback", "nats", "4222"},
		{"nats", "nats", "6222"},
		{"Prometheus", services, "9090"},
	}
	if v.with("backup") {
		everyPod += " backup"
		all = append(all, connection{"backup", "nats", "4222"})
	}
	if v.with("storage") {
		all = append(all, connection{"backup", "the internet", "443"})
	}
	port := "53"
	if v.with("openshift") {
		port = "5353"
	}
	if v.with("elsewhere") {
		everyPod = strings.TrimSuffix(everyPod, " nats")
		all = []connection{{services + " provisioner tieback", "the broker", "4222"}, {"Prometheus", services, "9090"}}
	}
	all = append(all, connection{everyPod, "DNS", port})
	switch {
	case v.with("sandbox"):
		all = append(all, connection{"sandbox", "ingest", "8080"}, connection{procore, "sandbox", "8081"}, connection{erp, "ledger", "7070"},
			connection{"sandbox ledger", "DNS", "53"})
	default:
		all = append(all, connection{procore, "the internet", "443"})
		switch {
		case v.example == "eks":
			all = append(all, connection{erp, "the ERP", "7070"})
		case v.with("erp"):
			all = append(all, connection{erp, "the ERP", "443"})
		default:
			all = append(all, connection{erp, "connectors", "7070"})
		}
	}
	reachable := map[string]string{}
	if v.with("ingress") {
		reachable["ingest"] = "8080"
	}
	if v.with("console-ingress") {
		reachable["console"] = "8090"
	}
	for service, port := range reachable {
		all = append(all, connection{"the ingress controller", service, port})
		if v.with("probed") {
			all = append(all, connection{"the ingress controller", service, "9090"})
		}
	}
	if v.with("keys") {
		all = append(all, connection{"keys", "the API server", "443"}, connection{"keys", "the API server", "6443"}, connection{"keys", "DNS", port})
	}
	if v.with("issuer") {
		all = append(all, connection{"the ingress controller", "solver", "8089"}, connection{"solver", "DNS", "53"})
	}
	return all
}

const (
	services = "ingest fetcher export sync import unlink reset status-reporter sweep lag-exporter console"
	everyPod = services + " provisioner tieback nats"
	procore  = "fetcher export sync import unlink reset status-reporter sweep console tieback"
	erp      = "export sync import unlink reset console tieback"
)

// outside has the names of peers that are no pods of the release.
var outside = map[string]string{
	"kubernetes.io/metadata.name=kube-system k8s-app=kube-dns":                                  "DNS",
	"kubernetes.io/metadata.name=openshift-dns dns.operator.openshift.io/daemonset-dns=default": "DNS",
	"169.254.20.10/32 []":                             "DNS", // NodeLocal DNSCache
	"kubernetes.io/metadata.name=ingress-nginx":       "the ingress controller",
	"policy-group.network.openshift.io/ingress=":      "the ingress controller",
	"policy-group.network.openshift.io/host-network=": "the ingress controller",
	"10.0.0.0/20 []":                                  "the ingress controller", // the subnets in the examples
	"10.0.16.0/20 []":                                 "the ingress controller",
	"10.225.0.0/24 []":                                "the ingress controller",
	"35.191.0.0/16 []":                                "the ingress controller",
	"130.211.0.0/22 []":                               "the ingress controller",
	"kubernetes.io/metadata.name=monitoring app.kubernetes.io/name=prometheus":                         "Prometheus",
	"kubernetes.io/metadata.name=openshift-user-workload-monitoring app.kubernetes.io/name=prometheus": "Prometheus",
	"0.0.0.0/0 [10.0.0.0/8 100.64.0.0/10 169.254.0.0/16 172.16.0.0/12 192.168.0.0/16]":                 "the internet",
	"::/0 [fc00::/7 fe80::/10]":             "the internet",
	"0.0.0.0/0 []":                          "the API server",
	"::/0 []":                               "the API server",
	"203.0.113.10/32 []":                    "the ERP",
	"10.0.40.10/32 []":                      "the ERP",
	"name=messaging":                        "the broker",
	"app.kubernetes.io/component=connector": "connectors",
}

func TestPoliciesMatchConnections(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		peers := map[string]map[string]string{}
		if !v.with("nats") && !v.with("elsewhere") { // of the official chart
			peers["nats"] = map[string]string{"app.kubernetes.io/name": "nats"}
		}
		if v.with("issuer") { // for the certificate
			peers["solver"] = map[string]string{"acme.cert-manager.io/http01-solver": "true"}
		}
		for _, p := range pods(t, b) {
			peers[p.name] = p.meta.Labels
		}
		want := map[string]bool{}
		for _, a := range connections(v) {
			for from := range names(a.from) {
				for to := range names(a.to) {
					want[from+" → "+to+":"+a.port] = true
				}
			}
		}
		out, in := map[string]bool{}, map[string]bool{}
		for name, policy := range of[*networkingv1.NetworkPolicy](b) {
			for _, pod := range matching(t, peers, &policy.Spec.PodSelector) {
				for _, rule := range policy.Spec.Egress {
					for _, to := range named(t, name, peers, rule.To) {
						add(t, name, out, pod+" → "+to, rule.Ports)
					}
				}
				for _, rule := range policy.Spec.Ingress {
					for _, from := range named(t, name, peers, rule.From) {
						add(t, name, in, from+" → "+pod, rule.Ports)
					}
				}
			}
		}
		// A connection within the namespace needs an egress and an ingress rule.
		inside := func(connection string, leaving bool) bool {
			from, to, _ := strings.Cut(connection, " → ")
			to, _, _ = strings.Cut(to, ":")
			if leaving {
				return peers[from] != nil
			}
			return peers[to] != nil
		}
		compare(t, "egress", out, want, func(a string) bool { return inside(a, true) })
		compare(t, "ingress", in, want, func(a string) bool { return inside(a, false) })
	})
}

// names returns the names in "a b c", or the one in "the d".
func names(list string) map[string]bool {
	if strings.HasPrefix(list, "the ") {
		return map[string]bool{list: true}
	}
	all := map[string]bool{}
	for _, n := range strings.Fields(list) {
		all[n] = true
	}
	return all
}

func compare(t *testing.T, which string, have, want map[string]bool, concerns func(string) bool) {
	t.Helper()
	for a := range have {
		if !want[a] {
			t.Errorf("%s is allowed and must not be: %s", which, a)
		}
	}
	for _, a := range slices.Sorted(maps.Keys(want)) {
		if concerns(a) && !have[a] {
			t.Errorf("%s is not allowed and must be: %s", which, a)
		}
	}
}

func matching(t *testing.T, peers map[string]map[string]string, s *metav1.LabelSelector) (found []string) {
	t.Helper()
	for name, l := range peers {
		if selects(t, s, l) {
			found = append(found, name)
		}
	}
	return found
}

// named returns the names of the peers of a rule. A rule without peers allows all, which is an error.
func named(t *testing.T, policy string, peers map[string]map[string]string, of []networkingv1.NetworkPolicyPeer) (found []string) {
	t.Helper()
	if len(of) == 0 {
		t.Errorf("%s: a rule for all peers", policy)
	}
	for _, p := range of {
		if p.IPBlock == nil && p.NamespaceSelector == nil {
			if inside := matching(t, peers, p.PodSelector); inside != nil {
				found = append(found, inside...)
				continue
			}
		}
		name, known := outside[described(p)]
		if !known {
			t.Errorf("%s: an unknown peer: %s", policy, described(p))
		}
		found = append(found, name)
	}
	return found
}

func described(p networkingv1.NetworkPolicyPeer) string {
	if p.IPBlock != nil {
		return fmt.Sprintf("%s %v", p.IPBlock.CIDR, p.IPBlock.Except)
	}
	var parts []string
	for _, s := range []*metav1.LabelSelector{p.NamespaceSelector, p.PodSelector} {
		if s != nil {
			parts = append(parts, labels.SelectorFromSet(s.MatchLabels).String())
		}
	}
	return strings.Join(parts, " ")
}

func add(t *testing.T, policy string, to map[string]bool, connection string, ports []networkingv1.NetworkPolicyPort) {
	t.Helper()
	if len(ports) == 0 {
		t.Errorf("%s: a rule for all ports", policy)
	}
	for _, p := range ports {
		if p.EndPort != nil || p.Port == nil {
			t.Errorf("%s: a range of ports", policy)
			continue
		}
		to[connection+":"+p.Port.String()] = true
	}
}

// A cluster has DNS in pods, or a cache on each node.
func TestPoliciesAllowBothKindsOfDNS(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		var found []string
		for _, rule := range of[*networkingv1.NetworkPolicy](b)["dns"].Spec.Egress {
			for _, to := range rule.To {
				if outside[described(to)] == "DNS" {
					found = append(found, described(to))
				}
			}
		}
		if len(found) != 2 && !v.with("openshift") {
			t.Errorf("allowed are %v", found)
		}
	})
}

func TestOtherConnectionsAreDenied(t *testing.T) {
	each(t, func(t *testing.T, v variant, b built) {
		closed := of[*networkingv1.NetworkPolicy](b)["closed"]
		if closed == nil || len(closed.Spec.PolicyTypes) != 2 || len(closed.Spec.Ingress)+len(closed.Spec.Egress) > 0 {
			t.Fatalf("no policy denies all connections: %+v", closed)
		}
		for _, p := range pods(t, b) {
			if !selects(t, &closed.Spec.PodSelector, p.meta.Labels) {
				t.Errorf("the policy does not select %s", p.name)
			}
		}
		if other := map[string]string{"app": "other"}; selects(t, &closed.Spec.PodSelector, other) == v.with("shared") {
			t.Errorf("the policy selects other pods of the namespace: %v", !v.with("shared"))
		}
	})
}

func TestPoliciesCanBeLeftOut(t *testing.T) {
	v := variantOf(t, "nginx")
	v.name, v.set = "nginx without policies", []string{"networkPolicies.enabled=false"}
	if found := of[*networkingv1.NetworkPolicy](build(t, v)); len(found) > 0 {
		t.Errorf("%d policies", len(found))
	}
}
