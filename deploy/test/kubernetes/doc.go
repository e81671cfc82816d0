// Package kubernetes tests the Helm chart deploy/helm/tieback without a cluster. It renders the chart with its examples and more
// values, decodes the manifests strictly into the types of the API, and compares them with pod security, the table of connections
// and the programs. It needs bin/helm, and runs make to build it.
//
// The manifests in deploy/kubernetes and the chart's copy of the Prometheus rules are generated:
//
//	go test ./deploy/test/kubernetes -run 'TestRendered|TestPrometheusRule' -update
package kubernetes
