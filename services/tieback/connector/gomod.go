package connector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/tieback/tieback/pkg/telemetry"
)

const tieback = "github.com/tieback/tieback"

// resolve sets Module, Tieback, Version and Inside for a connector in dir. The default checkout contains the working directory. Without a
// checkout the connector is built against the release that this program is of.
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
		return fmt.Errorf("--tieback: %s is not a checkout of Tieback: it has no go.mod with the module %s", s.Tieback, tieback)
	case s.Tieback == "":
		s.Tieback = currentCheckout()
	}
	if s.Tieback == "" {
		s.Version = telemetry.Version
		if s.Version == telemetry.Unreleased {
			return errors.New("this tieback is not of a release, and the working directory is not in a checkout of Tieback: give --tieback PATH")
		}
		return nil
	}
	if s.Tieback, err = filepath.Abs(s.Tieback); err == nil {
		s.Inside = strings.HasPrefix(abs, s.Tieback+string(filepath.Separator))
	}
	return err
}

func isCheckout(dir string) bool {
	raw, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	return err == nil && strings.HasPrefix(string(raw), "module "+tieback+"\n")
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

// goMod returns a go.mod that requires Tieback. tidy completes it.
func (s *skeleton) goMod() string {
	mod := fmt.Sprintf("module %s\n\ngo 1.26.0\n\nrequire %s v%s\n", s.Module, tieback, cmp.Or(s.Version, "0.0.0"))
	if s.Tieback != "" {
		mod += fmt.Sprintf("\nreplace %s => %s\n", tieback, quoted(s.Tieback))
	}
	return mod
}

// tidy adds the other modules of the connector to go.mod, and writes go.sum.
func tidy(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, "go", "mod", "tidy")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the files are written, but go mod tidy failed: run it in %s: %w\n%s", dir, err, out)
	}
	return nil
}

// quoted returns a path as go.mod needs it.
func quoted(path string) string {
	if strings.ContainsAny(path, " \t,()[]'") {
		return `"` + path + `"`
	}
	return path
}
