// Package prometheus checks what watches Tieback: deploy/prometheus, deploy/alertmanager, deploy/grafana
// and deploy/runbooks, with Prometheus' own promtool, and against the metrics that a running
// pipeline exports. Debian's packages prometheus and prometheus-alertmanager have the tools.
package prometheus
