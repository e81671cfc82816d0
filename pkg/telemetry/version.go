package telemetry

import (
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// Version is the release of the binary, the same for all services. It is set when a release is built: -ldflags "-X github.com/tieback/tieback/pkg/telemetry.Version=1.2.3".
var Version = "dev"

// Commit is set in the same way if the binary is built outside of its repository, as for images. "": Go's build
// information has it.
var Commit = ""

// Revision returns the commit that the binary was built from, followed by "+changes" if the tree had uncommitted changes;
// "unknown" if the commit is not known.
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

// BuildInfo returns a metric whose labels have the version of a service. Its value is always 1.
func BuildInfo(service string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tieback_build_info", Help: "Always 1; its labels have the service, its version, and the commit that it was built from.",
		ConstLabels: prometheus.Labels{"service": service, "version": Version, "revision": Revision()},
	}, func() float64 { return 1 })
}
