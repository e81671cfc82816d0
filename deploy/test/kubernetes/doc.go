// Package kubernetes checks deploy/kubernetes as far as it can be without a cluster: each overlay
// with each component is built, decoded strictly into the API's own types, and held against the
// policies, the drawn arrows, and the binaries that it runs.
//
// After a change of the Prometheus rules:
//
//	go test ./deploy/test/kubernetes -run TestPrometheusRule -update
package kubernetes
