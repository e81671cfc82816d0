package connector

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const tieback = "github.com/tieback/tieback/"

// find settles the module's name and the checkout: the one given, else the one that the
// command runs in.
func (s *skeleton) find(dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	s.Module = cmp.Or(s.Module, filepath.Base(abs))
	if strings.ContainsAny(s.Module, " \t\n\"`\\") {
		return fmt.Errorf("%q is no name of a Go module; give one with --module", s.Module)
	}
	switch {
	case s.Tieback != "" && !checkout(s.Tieback):
		return fmt.Errorf("--tieback: %s is no checkout of Tieback (it has no pkg/go.mod of %spkg)", s.Tieback, tieback)
	case s.Tieback == "":
		s.Tieback = around()
	}
	if s.Tieback == "" {
		return errors.New("no checkout of Tieback found here: give --tieback PATH")
	}
	if s.Tieback, err = filepath.Abs(s.Tieback); err == nil {
		s.Inside = strings.HasPrefix(abs, s.Tieback+string(filepath.Separator))
	}
	return err
}

func checkout(dir string) bool {
	raw, err := os.ReadFile(filepath.Join(dir, "pkg", "go.mod"))
	return err == nil && strings.HasPrefix(string(raw), "module "+tieback+"pkg\n")
}

// around is the checkout that the working folder is in; "": none.
func around() string {
	dir, err := os.Getwd()
	for err == nil {
		if checkout(dir) {
			return dir
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return ""
}

var (
	// direct are the modules that the skeleton itself imports.
	direct = []string{"google.golang.org/protobuf"}
	// unused are modules of pkg that nothing of a connector imports. "go mod tidy" says the same; see the test.
	unused = []string{
		"github.com/nats-io/", "github.com/synadia-io/", "github.com/klauspost/", "github.com/kylelemons/", "golang.org/x/crypto", "golang.org/x/oauth2",
		"github.com/cenkalti/", "github.com/google/uuid", "github.com/grpc-ecosystem/", "go.opentelemetry.io/otel/exporters/", "go.opentelemetry.io/otel/sdk",
		"go.opentelemetry.io/proto/", "google.golang.org/genproto/googleapis/api",
	}
	// summed are those whose sums are asked for all the same.
	summed = []string{"go.yaml.in/", "go.uber.org/goleak"}
)

// modFiles are go.mod and go.sum. The versions and sums are those of the checkout's pkg, so
// that the connector builds from what building Tieback has downloaded.
func (s *skeleton) modFiles() (mod, sum string, err error) {
	all, err := requirements(filepath.Join(s.Tieback, "pkg", "go.mod"))
	if err != nil {
		return "", "", err
	}
	here, there := []string{tieback + "pkg v0.0.0", tieback + "proto v0.0.0"}, []string{}
	for _, r := range all {
		switch path, _, _ := strings.Cut(r, " "); {
		case slices.Contains(direct, path):
			here = append(here, r)
		case !begins(path, unused) && !begins(path, summed):
			there = append(there, r+" // indirect")
		}
	}
	slices.Sort(here)
	slices.Sort(there)
	mod = fmt.Sprintf("module %s\n\ngo 1.26.0\n%s%s", s.Module, block("require", here), block("require", there))
	mod += block("replace", []string{
		tieback + "pkg => " + quoted(filepath.Join(s.Tieback, "pkg")), tieback + "proto => " + quoted(filepath.Join(s.Tieback, "proto"))})
	raw, err := os.ReadFile(filepath.Join(s.Tieback, "pkg", "go.sum"))
	for line := range strings.Lines(string(raw)) {
		if !begins(line, unused) {
			sum += line
		}
	}
	return mod, sum, err
}

// begins says whether a module's path is under one of some.
func begins(path string, under []string) bool {
	return slices.ContainsFunc(under, func(u string) bool { return strings.HasPrefix(path, u) })
}

func block(verb string, lines []string) string {
	return "\n" + verb + " (\n\t" + strings.Join(lines, "\n\t") + "\n)\n"
}

// requirements are a go.mod's modules with their versions, but for Tieback's own.
func requirements(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	lines := bufio.NewScanner(f)
	for in := false; lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 0:
		case fields[0] == "require" && len(fields) == 2:
			in = true
		case fields[0] == ")":
			in = false
		case in && len(fields) >= 2 && !strings.HasPrefix(fields[0], tieback):
			out = append(out, fields[0]+" "+fields[1])
		}
	}
	return out, lines.Err()
}

// quoted is a path as go.mod takes it.
func quoted(path string) string {
	if strings.ContainsAny(path, " \t,()[]'") {
		return `"` + path + `"`
	}
	return path
}
