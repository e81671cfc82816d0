package connector

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// command runs `tieback connector`.
func command(t *testing.T, args ...string) (out, errs string, err error) {
	t.Helper()
	var o, e strings.Builder
	cmd := Command()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(args)
	cmd.SetOut(&o)
	cmd.SetErr(&e)
	err = cmd.ExecuteContext(t.Context())
	return o.String(), e.String(), err
}

// TestNewBuildsAndPasses creates a connector and tests it.
func TestNewBuildsAndPasses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "acme-erp")
	out, _, err := command(t, "new", dir)
	if err != nil || !strings.Contains(out, "go.mod") || !strings.Contains(out, "go test ./...") {
		t.Fatalf("%s, %v", out, err)
	}
	for _, args := range [][]string{{"mod", "tidy", "-diff"}, {"vet", "./..."}, {"test", "-v", "./..."}} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off")
		raw, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, raw)
		}
		if args[0] == "test" && !strings.Contains(string(raw), "--- PASS: TestConformance/killed_while_booking") {
			t.Errorf("the case that kills the connector did not run:\n%s", raw)
		}
	}
	if raw, err := exec.CommandContext(t.Context(), "gofmt", "-l", dir).CombinedOutput(); err != nil || len(raw) > 0 {
		t.Errorf("gofmt: %s, %v", raw, err)
	}
}

func TestNewUsageErrors(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "main.go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"is not empty (it contains main.go); give a new or an empty directory": {"new", full},
		"is not a checkout of Tieback":                                         {"new", filepath.Join(t.TempDir(), "x"), "--tieback", full},
		"is not a valid module path: give one with --module":                   {"new", filepath.Join(t.TempDir(), "my erp")},
		"give the new directory, as in tieback connector new":                  {"new"},
		"needs a subcommand: verify or new":                                    {},
	} {
		if _, _, err := command(t, args...); err == nil || errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

// Without a checkout and a release the error names the flag, and nothing is written.
func TestNewWithoutACheckout(t *testing.T) {
	t.Chdir(t.TempDir())
	out, _, err := command(t, "new", "erp", "--module", "example.com/erp")
	if err == nil || errors.Is(err, ErrFailed) || err.Error() != "this tieback is not of a release, and the working directory is not in a checkout of Tieback: give --tieback PATH" {
		t.Errorf("%s, %v", out, err)
	}
	if files, err := os.ReadDir("."); err != nil || len(files) > 0 {
		t.Errorf("it wrote %v, %v", files, err)
	}
}

// Inside the checkout, go refuses a module that is not in the workspace.
func TestNewInsideTheWorkspace(t *testing.T) {
	s := skeleton{}
	if err := s.resolve("erp"); err != nil || !s.Inside || !strings.Contains(s.nextSteps("erp", nil), "GOWORK=off") {
		t.Errorf("%+v, %v", s, err)
	}
}
