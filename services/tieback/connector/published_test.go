package connector

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

const checkout = "../../.."

// treeFile is a file of the checkout, for a module's zip file.
type treeFile string

func (f treeFile) Path() string                 { return string(f) }
func (f treeFile) Lstat() (os.FileInfo, error)  { return os.Lstat(filepath.Join(checkout, string(f))) }
func (f treeFile) Open() (io.ReadCloser, error) { return os.Open(filepath.Join(checkout, string(f))) }

// tree lists the files of the checkout that git does not ignore.
func tree(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "-C", checkout, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(checkout, name)); err == nil { // not deleted
			names = append(names, name)
		}
	}
	return names
}

// publish returns the URL of a module proxy that has the checkout as a version of Tieback.
func publish(t *testing.T, version string) string {
	t.Helper()
	proxy := t.TempDir()
	dir := filepath.Join(proxy, filepath.FromSlash(tieback), "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var files []zip.File
	for _, name := range tree(t) {
		files = append(files, treeFile(name))
	}
	f, err := os.Create(filepath.Join(dir, version+".zip"))
	if err == nil {
		err = errors.Join(zip.Create(f, module.Version{Path: tieback, Version: version}, files), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(checkout, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"list": version + "\n", version + ".mod": string(mod), version + ".info": fmt.Sprintf(`{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, version),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return "file://" + filepath.ToSlash(proxy)
}

// From a module proxy that has the version of a release, the program can be installed and creates a connector that builds. There is no
// checkout.
func TestPublishedModule(t *testing.T) {
	version := fmt.Sprintf("v1.2.3-test.%d", time.Now().UnixNano()) // the module cache keeps it: never the same twice
	proxy := publish(t, version)
	work := t.TempDir()
	env := append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOBIN="+work, "GOPROXY="+proxy+","+goEnv(t, "GOPROXY"), "GONOSUMDB="+tieback)
	t.Cleanup(func() {
		cache := goEnv(t, "GOMODCACHE")
		dir := filepath.Join(cache, filepath.FromSlash(tieback)+"@"+version)
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error { // the cache is read-only
			if err == nil && d.IsDir() {
				err = os.Chmod(path, 0o700) //nolint:gosec // a directory
			}
			return err
		})
		files, globErr := filepath.Glob(filepath.Join(cache, "cache/download", filepath.FromSlash(tieback), "@v", version+".*"))
		errs := []error{err, globErr, os.RemoveAll(dir)}
		for _, f := range files {
			errs = append(errs, os.Remove(f))
		}
		if err := errors.Join(errs...); err != nil {
			t.Errorf("remove %s from the module cache: %v", version, err)
		}
	})
	run := func(dir, name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", filepath.Base(name), args, err, out)
		}
		return string(out)
	}
	run(work, "go", "install", tieback+"/services/tieback@"+version)
	program := filepath.Join(work, "tieback")
	if out := run(work, program, "version"); !strings.Contains(out, strings.TrimPrefix(version, "v")) {
		t.Errorf("tieback version: %q, want %s", out, version)
	}
	run(work, program, "connector", "new", "erp")
	raw, err := os.ReadFile(filepath.Join(work, "erp", "go.mod"))
	if err != nil || !strings.Contains(string(raw), tieback+" "+version) || strings.Contains(string(raw), "replace") {
		t.Errorf("go.mod: %v\n%s", err, raw)
	}
	run(filepath.Join(work, "erp"), "go", "vet", "./...")
	run(filepath.Join(work, "erp"), "go", "build", "-o", "erp", ".")
}

func goEnv(t *testing.T, name string) string {
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// A module with a replace directive can't be installed, and a requirement of v0.0.0 can't be resolved.
func TestModulesResolveOutside(t *testing.T) {
	found := 0
	for _, name := range tree(t) {
		if filepath.Base(name) != "go.mod" {
			continue
		}
		found++
		raw, err := os.ReadFile(filepath.Join(checkout, name))
		if err != nil {
			t.Fatal(err)
		}
		f, err := modfile.Parse(name, raw, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range f.Replace {
			t.Errorf("%s replaces %s", name, r.Old.Path)
		}
		for _, r := range f.Require {
			if strings.HasPrefix(r.Mod.Path, tieback) || strings.HasPrefix(r.Mod.Version, "v0.0.0") && !module.IsPseudoVersion(r.Mod.Version) {
				t.Errorf("%s requires %s, which is not published", name, r.Mod)
			}
		}
	}
	if found == 0 {
		t.Error("no go.mod was found")
	}
}
