package connectorcmd

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const tieback = "github.com/tieback/tieback/"

// find settles the module's name and the checkout: the one given, else the one that the
// command runs in, else none.
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
		return nil
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

// direct are the modules that the skeleton itself imports.
var direct = map[string]bool{"google.golang.org/protobuf": true}

// modFiles are go.mod and go.sum. The versions and sums are those of the checkout's pkg, so
// that the connector builds from what building Tieback has downloaded.
func (s *skeleton) modFiles() (mod, sum string, err error) {
	mod = fmt.Sprintf("module %s\n\ngo 1.26.0\n", s.Module)
	if s.Tieback == "" {
		return mod, "", nil
	}
	required, err := requirements(filepath.Join(s.Tieback, "pkg", "go.mod"))
	if err != nil {
		return "", "", err
	}
	raw, err := os.ReadFile(filepath.Join(s.Tieback, "pkg", "go.sum"))
	mod += "\nrequire (\n\t" + tieback + "pkg v0.0.0\n\t" + tieback + "proto v0.0.0\n" + required + ")\n"
	mod += fmt.Sprintf("\nreplace (\n\t%spkg => %s\n\t%sproto => %s\n)\n",
		tieback, quoted(filepath.Join(s.Tieback, "pkg")), tieback, quoted(filepath.Join(s.Tieback, "proto")))
	return mod, string(raw), err
}

// requirements are the lines of a go.mod's require blocks, but for Tieback's own modules.
func requirements(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var out strings.Builder
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
			fmt.Fprintf(&out, "\t%s %s%s\n", fields[0], fields[1], map[bool]string{false: " // indirect"}[direct[fields[0]]])
		}
	}
	return out.String(), lines.Err()
}

// quoted is a path as go.mod takes it.
func quoted(path string) string {
	if strings.ContainsAny(path, " \t,()[]'") {
		return `"` + path + `"`
	}
	return path
}
