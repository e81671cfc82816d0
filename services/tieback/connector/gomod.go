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

// resolve sets Module, Tieback and Inside for a connector in dir. The default checkout contains the working directory.
func (s *skeleton) resolve(dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	s.Module = cmp.Or(s.Module, filepath.Base(abs))
	if strings.ContainsAny(s.Module, " \t\n\"`\\") {
		return fmt.Errorf("%q is not a valid module path: give one with --module", s.Module)
	}
	switch {
	case s.Tieback != "" && !isCheckout(s.Tieback):
		return fmt.Errorf("--tieback: %s is not a checkout of Tieback: it has no pkg/go.mod with the module %spkg", s.Tieback, tieback)
	case s.Tieback == "":
		s.Tieback = currentCheckout()
	}
	if s.Tieback == "" {
		return errors.New("the working directory is not in a checkout of Tieback: give --tieback PATH")
	}
	if s.Tieback, err = filepath.Abs(s.Tieback); err == nil {
		s.Inside = strings.HasPrefix(abs, s.Tieback+string(filepath.Separator))
	}
	return err
}

func isCheckout(dir string) bool {
	raw, err := os.ReadFile(filepath.Join(dir, "pkg", "go.mod"))
	return err == nil && strings.HasPrefix(string(raw), "module "+tieback+"pkg\n")
}

// currentCheckout returns the checkout that contains the working directory, or "".
func currentCheckout() string {
	dir, err := os.Getwd()
	for err == nil {
		if isCheckout(dir) {
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
	// direct are the modules that the skeleton imports.
	direct = []string{"google.golang.org/protobuf"}
	// unused are modules of pkg that a connector does not import, as "go mod tidy" decides; see the test.
	unused = []string{
		"github.com/go-json-experiment/", "github.com/nats-io/", "github.com/synadia-io/", "github.com/klauspost/", "github.com/kylelemons/", "golang.org/x/crypto", "golang.org/x/oauth2",
		"github.com/cenkalti/", "github.com/google/uuid", "github.com/grpc-ecosystem/", "go.opentelemetry.io/otel/exporters/", "go.opentelemetry.io/otel/sdk",
		"go.opentelemetry.io/proto/", "google.golang.org/genproto/googleapis/api",
	}
	// onlySums are modules that a connector does not import but whose sums it needs.
	onlySums = []string{"go.yaml.in/", "go.uber.org/goleak"}
)

// modFiles returns go.mod and go.sum. They have the versions and sums of the checkout's pkg, so the connector builds from the
// modules that building Tieback has downloaded.
func (s *skeleton) modFiles() (mod, sum string, err error) {
	all, err := requirements(filepath.Join(s.Tieback, "pkg", "go.mod"))
	if err != nil {
		return "", "", err
	}
	imported, indirect := []string{tieback + "pkg v0.0.0", tieback + "proto v0.0.0"}, []string{}
	for _, r := range all {
		switch path, _, _ := strings.Cut(r, " "); {
		case slices.Contains(direct, path):
			imported = append(imported, r)
		case !hasPrefix(path, unused) && !hasPrefix(path, onlySums):
			indirect = append(indirect, r+" // indirect")
		}
	}
	slices.Sort(imported)
	slices.Sort(indirect)
	mod = fmt.Sprintf("module %s\n\ngo 1.26.0\n%s%s", s.Module, block("require", imported), block("require", indirect))
	mod += block("replace", []string{
		tieback + "pkg => " + quoted(filepath.Join(s.Tieback, "pkg")), tieback + "proto => " + quoted(filepath.Join(s.Tieback, "proto"))})
	raw, err := os.ReadFile(filepath.Join(s.Tieback, "pkg", "go.sum"))
	for line := range strings.Lines(string(raw)) {
		if !hasPrefix(line, unused) {
			sum += line
		}
	}
	return mod, sum, err
}

// hasPrefix reports whether path begins with one of the prefixes.
func hasPrefix(path string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(path, p) })
}

// block returns a block of go.mod.
func block(verb string, lines []string) string {
	return "\n" + verb + " (\n\t" + strings.Join(lines, "\n\t") + "\n)\n"
}

// requirements returns the modules that a go.mod requires, with their versions, without Tieback's own.
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

// quoted returns a path as go.mod needs it.
func quoted(path string) string {
	if strings.ContainsAny(path, " \t,()[]'") {
		return `"` + path + `"`
	}
	return path
}
