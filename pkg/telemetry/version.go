package telemetry

import (
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// Version is the release that the binary belongs to, one for all services. It is set when a
// release is built: -ldflags "-X github.com/tieback/tieback/pkg/telemetry.Version=1.2.3".
var Version = "dev"

// Commit is set likewise where the binary is built outside of its repository, as images are. "": what
// Go itself knows of it.
var Commit = ""

// Revision is the commit that the binary was built from, with "+changes" behind it where the tree
// had others; "unknown": nobody said.
func Revision() string {
	if Commit != "" {
		return Commit
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknown
	}
	return revision(info.Settings)
}

const unknown = "unknown"

func revision(settings []debug.BuildSetting) string {
	commit, changes := unknown, ""
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changes = "+changes"
		}
	}
	if commit == unknown {
		return unknown
	}
	return commit + changes
}

// BuildInfo is the metric that says which version of a service runs. Its value is always 1.
func BuildInfo(service string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tieback_build_info", Help: "Always 1; its labels say which version of which service runs, and the commit it was built from.",
		ConstLabels: prometheus.Labels{"service": service, "version": Version, "revision": Revision()},
	}, func() float64 { return 1 })
}
