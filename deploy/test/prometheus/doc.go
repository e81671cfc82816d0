// Package prometheus tests deploy/prometheus, deploy/alertmanager, deploy/grafana and deploy/runbooks with promtool and amtool,
// and against the metrics that a running pipeline exports. Debian has the tools in the packages prometheus and
// prometheus-alertmanager.
package prometheus
