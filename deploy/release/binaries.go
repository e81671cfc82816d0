package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// mains lists the packages of the binaries, relative to the repository; they are those of deploy/docker/Dockerfile.
func (r *release) mains() ([]string, error) {
	all, err := filepath.Glob(filepath.Join(r.root, "services/*/cmd/*"))
	if err != nil {
		return nil, err
	}
	all = append(all, filepath.Join(r.root, "services/connectors/ledger/cmd/ledger"), filepath.Join(r.root, "services/tieback"))
	var out []string
	for _, dir := range all {
		if len(r.only) == 0 || slices.Contains(r.only, filepath.Base(dir)) {
			out = append(out, "./"+filepath.ToSlash(strings.TrimPrefix(dir, r.root+string(filepath.Separator))))
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no binary has a name of %q", r.only)
	}
	return out, nil
}

// compile builds the binaries for a target in dir, with the flags of deploy/docker/Dockerfile.
func (r *release) compile(ctx context.Context, dir, system, arch string) error {
	mains, err := r.mains()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	const stamp = "github.com/tieback/tieback/pkg/telemetry"
	flags := fmt.Sprintf("-s -X %s.Version=%s -X %s.Commit=%s", stamp, r.version, stamp, r.commit)
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", dir + string(filepath.Separator)}, mains...)...)
	cmd.Dir = r.root
	cmd.Env = append(os.Environ(), "GOOS="+system, "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOWORK=off")
	if r.cache != "" {
		cmd.Env = append(cmd.Env, "GOCACHE="+r.cache)
	}
	return quiet(cmd)
}

// name returns the name of a file of the release for a target, without its suffix.
func (r *release) name(system, arch string) string {
	return fmt.Sprintf("tieback_%s_%s_%s", r.version, system, arch)
}

// pack writes the archive of the binaries in dir, and their bill of materials.
func (r *release) pack(dir, system, arch string) (err error) {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return err
	}
	suffix, write := ".tar.gz", r.tar
	if system == "windows" {
		suffix, write = ".zip", r.zip
	}
	f, err := os.Create(filepath.Join(r.out, r.name(system, arch)+suffix))
	if err != nil {
		return err
	}
	if err := errors.Join(write(f, dir, entries), f.Close()); err != nil {
		return err
	}
	return r.materials(dir, system, arch, entries)
}

func (r *release) tar(w io.Writer, dir string, entries []os.DirEntry) error {
	z := gzip.NewWriter(w)
	t := tar.NewWriter(z)
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: e.Name(), Mode: 0o755, Size: int64(len(raw)), ModTime: r.time}); err != nil {
			return err
		}
		if _, err := t.Write(raw); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), z.Close())
}

func (r *release) zip(w io.Writer, dir string, entries []os.DirEntry) error {
	z := zip.NewWriter(w)
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		h := &zip.FileHeader{Name: e.Name(), Method: zip.Deflate, Modified: r.time}
		h.SetMode(0o755)
		to, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := to.Write(raw); err != nil {
			return err
		}
	}
	return z.Close()
}
