// Command release builds the files of a release in dist/VERSION; see make release:
//
//	tieback_VERSION_OS_ARCH.tar.gz, .zip   the binaries
//	tieback_VERSION_OS_ARCH.cdx.json       what they consist of (CycloneDX)
//	tieback-VERSION.tgz                    the Helm chart
//	images/NAME                            the image of a service for all architectures of Linux (OCI image layout)
//	provenance.json                        what it was built from (in-toto statement, SLSA provenance); signed: provenance.dsse.json
//	SHA256SUMS                             the checksums; that of images/NAME/index.json is the digest of the image
//
// The same commit and compiler give the same files.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// release is what is built.
type release struct {
	root    string // of the repository
	out     string // the folder of the files
	version string // X.Y.Z
	commit  string // with "+changes" if the tree has uncommitted changes
	time    time.Time
	targets []string // OS/ARCH
	only    []string // names of binaries; nil: all
	helm    string   // the program, which make builds
	cache   string   // GOCACHE of the binaries; "": the default
	key     string   // file with the private key for the provenance; "": unsigned
	log     func(format string, args ...any)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("release", flag.ContinueOnError)
	version := f.String("version", "", "the version, X.Y.Z")
	targets := f.String("targets", "linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64", "systems and architectures")
	only := f.String("only", "", "names of binaries; default: all")
	key := f.String("key", "", "a PEM file with an Ed25519 private key (PKCS #8), which signs the provenance")
	dirty := f.Bool("dirty", false, "build a tree with uncommitted changes, or a version that the changelog lacks")
	twice := f.Bool("check", false, "build twice, the second time from a copy in another folder with an empty build cache, and compare")
	if err := f.Parse(args); err != nil {
		return err
	}
	root, err := git(ctx, ".", "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	r := &release{
		root: root, version: *version, out: filepath.Join(root, "dist", *version), helm: filepath.Join(root, "bin/helm"), targets: strings.Fields(*targets), only: strings.Fields(*only), key: *key,
		log: func(format string, args ...any) { fmt.Printf(format+"\n", args...) },
	}
	if err := r.prepare(ctx, *dirty); err != nil {
		return err
	}
	if *twice {
		return r.check(ctx)
	}
	return r.build(ctx)
}

var semver = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$`)

// prepare checks the version, the changelog, the tree and the compiler, and sets the commit and its time.
func (r *release) prepare(ctx context.Context, dirty bool) error {
	if !semver.MatchString(r.version) {
		return fmt.Errorf("%q is not a version: give VERSION=X.Y.Z", r.version)
	}
	changelog, err := os.ReadFile(filepath.Join(r.root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	if err := inChangelog(string(changelog), r.version); err != nil && !dirty {
		return err
	}
	if r.commit, err = git(ctx, r.root, "rev-parse", "HEAD"); err != nil {
		return err
	}
	changes, err := git(ctx, r.root, "status", "--porcelain")
	switch {
	case err != nil:
		return err
	case changes != "" && !dirty:
		return fmt.Errorf("the tree has uncommitted changes: commit them, or set DIRTY=1 for a build that is not released:\n%s", changes)
	case changes != "":
		r.commit += "+changes"
	}
	seconds, err := git(ctx, r.root, "log", "-1", "--format=%ct")
	if err != nil {
		return err
	}
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return err
	}
	r.time = time.Unix(unix, 0).UTC()
	pinned, err := compiler(r.root)
	if err == nil && pinned != runtime.Version() {
		err = fmt.Errorf("a release is built with %s, which deploy/docker/Dockerfile names, and this is %s: run make release, or set GOTOOLCHAIN=%s", pinned, runtime.Version(), pinned)
	}
	return err
}

// inChangelog returns an error unless the changelog has a section for the version that is not empty.
func inChangelog(text, version string) error {
	_, section, found := strings.Cut(text, "\n## ["+version+"]")
	if !found {
		return fmt.Errorf("CHANGELOG.md has no heading ## [%s]: move what is under [Unreleased] below it, and commit", version)
	}
	_, section, _ = strings.Cut(section, "\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if strings.TrimSpace(section) == "" {
		return fmt.Errorf("CHANGELOG.md says nothing under ## [%s]: move what is under [Unreleased] below it, and commit", version)
	}
	return nil
}

// compiler returns the Go version of the images, as of runtime.Version. The release uses the same.
func compiler(root string) (string, error) {
	raw, err := os.ReadFile(filepath.Join(root, "deploy/docker/Dockerfile"))
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`(?m)^ARG GO_IMAGE=golang:([0-9.]+)`).FindSubmatch(raw)
	if m == nil {
		return "", errors.New("deploy/docker/Dockerfile has no ARG GO_IMAGE=golang:X.Y.Z")
	}
	return "go" + string(m[1]), nil
}

// build builds everything in a new folder, and renames it to r.out at the end.
func (r *release) build(ctx context.Context) error {
	began := time.Now()
	final := r.out
	r.out = final + ".unfinished"
	defer func() { r.out = final }()
	if err := os.RemoveAll(r.out); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "tieback-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	linux := map[string]string{} // folders of binaries by architecture
	for _, t := range r.targets {
		system, arch, _ := strings.Cut(t, "/")
		dir := filepath.Join(work, system+"-"+arch)
		r.log("compiling for %s", t)
		if err := r.compile(ctx, dir, system, arch); err != nil {
			return err
		}
		if err := r.pack(dir, system, arch); err != nil {
			return err
		}
		if system == "linux" {
			linux[arch] = dir
		} else if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	r.log("packing images and chart")
	if err := r.images(linux); err != nil {
		return err
	}
	if err := r.chart(ctx); err != nil {
		return err
	}
	if err := r.attest(ctx); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(final), os.Rename(r.out, final)); err != nil {
		return err
	}
	r.log("%s has release %s of %s, after %.0f s", final, r.version, r.commit, time.Since(began).Seconds())
	return nil
}

// chart packages the Helm chart. Helm gives its files the time of SOURCE_DATE_EPOCH.
func (r *release) chart(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, r.helm, "package", filepath.Join(r.root, "deploy/helm/tieback"), "--version", r.version, "--app-version", r.version, "--destination", r.out)
	cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.time.Unix()))
	return quiet(cmd)
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("git %s: %w: %s", args[0], err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// quiet runs a command. Its output is in the error.
func quiet(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[:min(3, len(cmd.Args))], " "), err, out)
	}
	return nil
}
