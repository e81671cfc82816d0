package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// The packages to build. Every command below services is a service of the pipeline, except notServices.
const (
	servicesPath = "github.com/tieback/tieback/services/.../cmd/..."
	commandPath  = "github.com/tieback/tieback/services/tieback"
	ledgerPath   = "github.com/tieback/tieback/services/connectors/ledger/cmd/ledger"
	brokerPath   = "github.com/nats-io/nats-server/v2"
)

// programs are the binaries of a run.
type programs struct {
	dir      string
	services []string  // names, sorted
	backups  bool      // the command line of an older version makes backups
	old      *programs // the services of an older version; nil: there is none
}

func (p programs) path(name string) string { return filepath.Join(p.dir, name) }

// service returns the path of a service's binary. If the old version lacks the service, it is that of the new version.
func (p programs) service(name, version string) string {
	if version == oldVersion && p.old != nil && slices.Contains(p.old.services, name) {
		p = *p.old
	}
	return p.path(filepath.Join("services", name))
}

// command returns the path of the command line of a version.
func (p programs) command(version string) string {
	if version == oldVersion {
		p = *p.old
	}
	return p.path("tieback")
}

// build builds every program.
func build(ctx context.Context, dir string) (programs, error) {
	p := programs{dir: dir}
	services := filepath.Join(dir, "services")
	for _, step := range []struct {
		into  string
		paths []string
	}{{services, []string{servicesPath}}, {dir, []string{commandPath, ledgerPath, brokerPath}}} {
		if err := os.MkdirAll(step.into, 0o755); err != nil {
			return p, err
		}
		cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-o", step.into + "/"}, step.paths...)...)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return p, fmt.Errorf("go build %v: %w (run chaos inside the repository)", step.paths, err)
		}
	}
	var err error
	p.services, err = built(services)
	return p, err
}
