package telemetry

import (
	"regexp"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// Unreleased is the version of a binary that is not of a release.
const Unreleased = "dev"

// Version is the release of the binary, X.Y.Z, the same for all services. make release sets it: -ldflags
// "-X github.com/tieback/tieback/pkg/telemetry.Version=1.2.3". If go install or a connector's build has Tieback from a module proxy, it
// is the module's version.
var Version = "dev"

func init() {
	if info, ok := debug.ReadBuildInfo(); ok && Version == Unreleased {
		Version = released(info)
	}
}

// release matches the versions of releases, and no pseudo-versions.
var release = regexp.MustCompile(`^v(\d+\.\d+\.\d+(-[a-z]+\.\d+)?)$`)

// released returns the version of Tieback's module in a binary.
func released(info *debug.BuildInfo) string {
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if found := release.FindStringSubmatch(m.Version); m.Path == "github.com/tieback/tieback" && m.Replace == nil && found != nil && found[1] != "0.0.0" {
			return found[1]
		}
	}
	return Unreleased
}

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
