// Package kubernetes tests deploy/kubernetes without a cluster. It builds each overlay with each component, decodes the manifests
// strictly into the types of the API, and compares them with pod security, the table of connections and the programs.
//
// To update the rules of the Prometheus Operator after a change of deploy/prometheus/rules.yaml:
//
//	go test ./deploy/test/kubernetes -run TestPrometheusRule -update
package kubernetes
