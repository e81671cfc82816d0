package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// firstCompatible is the oldest commit whose services can run beside today's. Earlier ones have other names of streams, of
// broker accounts and of keys in the state, so neither version would find what the other wrote.
const firstCompatible = "13f4fb0"

// firstWithBackup is the oldest commit whose command line makes backups.
const firstWithBackup = "d56ade0"

// older builds the services and the command line of a commit; "auto" is the newest release, or 20 commits ago if there is none. The commit's files
// are unpacked outside of the repository, so that an interrupted run leaves nothing in it.
func older(ctx context.Context, dir, ref string) (p programs, commit string, err error) {
	if ref == "auto" {
		if ref, err = git(ctx, "describe", "--tags", "--abbrev=0"); err != nil {
			ref = "HEAD~20"
		}
	}
	if commit, err = git(ctx, "log", "-1", "--format=%h %s", ref); err != nil {
		return p, "", fmt.Errorf("--old %s: %w", ref, err)
	}
	if _, err := git(ctx, "merge-base", "--is-ancestor", firstCompatible, ref); err != nil {
		return p, "", fmt.Errorf("--old %s: the commit (%s) has other names of streams, broker accounts and state keys, so its services cannot run beside "+
			"today's; name %s or a later commit (git: %w)", ref, commit, firstCompatible, err)
	}
	source := filepath.Join(dir, "source")
	_, noBackup := git(ctx, "merge-base", "--is-ancestor", firstWithBackup, ref)
	p = programs{dir: filepath.Join(dir, "bin"), backups: noBackup == nil}
	into := filepath.Join(p.dir, "services")
	for _, d := range []string{source, into} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return p, "", err
		}
	}
	root, err := git(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		return p, "", err
	}
	archive := filepath.Join(dir, "source.tar")
	for _, step := range []*exec.Cmd{
		exec.CommandContext(ctx, "git", "-C", root, "archive", "-o", archive, ref),
		exec.CommandContext(ctx, "tar", "-xf", archive, "-C", source),
		exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", into+"/", "./services/.../cmd/..."), // trimmed: built once for all folders
		exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", p.dir+"/", "./services/tieback"),
	} {
		if step.Args[0] == "go" {
			step.Dir = source
		}
		step.Stdout, step.Stderr = os.Stderr, os.Stderr
		if err := step.Run(); err != nil {
			return p, "", fmt.Errorf("--old %s: %s: %w", ref, step.Args[0], err)
		}
	}
	p.services, err = built(into)
	return p, commit, err
}

func git(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", args...).Output()
	return strings.TrimSpace(string(out)), err
}

// notServices are the commands below services that are not services of the pipeline: the provisioner, which chaos runs
// separately, the ERP, the simulated Procore, the demo, and a tool of the Tryton connector.
var notServices = []string{"provisioner", "ledger", "sandbox", "demo", "tryton-company"}

// built lists the services in a folder, sorted.
func built(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		if !slices.Contains(notServices, e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, err
}
