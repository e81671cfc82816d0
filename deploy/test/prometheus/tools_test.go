package prometheus

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// deploy is the folder under test.
const deploy = "../.."

// needs skips the test where a program is not installed, except in CI.
func needs(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		pkg := map[string]string{"prometheus": "prometheus", "promtool": "prometheus", "amtool": "prometheus-alertmanager"}[name]
		missing := fmt.Sprintf("LEFT OUT: %s is not on this machine (apt-get install --no-install-recommends %s)", name, pkg)
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		fmt.Fprintln(os.Stderr, missing)
		t.Skip(missing)
	}
}

// tool runs promtool or amtool and fails with its output.
func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	needs(t, name)
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func TestPrometheusConfig(t *testing.T) {
	tool(t, "promtool", "check", "config", "--lint-fatal", deploy+"/prometheus/prometheus.yaml")
}

func TestPrometheusRules(t *testing.T) {
	tool(t, "promtool", "check", "rules", "--lint-fatal", deploy+"/prometheus/rules.yaml")
	tool(t, "promtool", "check", "rules", "--lint-fatal", deploy+"/helm/tieback/files/rules.yaml")
}

// Every alert fires, resolves, and does not fire in normal operation.
func TestAlertsFireAndResolve(t *testing.T) {
	t.Parallel()
	tool(t, "promtool", "test", "rules", deploy+"/prometheus/rules_test.yaml", deploy+"/prometheus/rules_days_test.yaml",
		deploy+"/prometheus/rules_namespace_test.yaml")
}

func TestAlertmanagerConfig(t *testing.T) {
	tool(t, "amtool", "check-config", deploy+"/alertmanager/alertmanager.yaml")
}

// The receivers in comments are valid.
func TestAlertmanagerExamples(t *testing.T) {
	text := regexp.MustCompile(`(?m)^  #   `).ReplaceAllString(read(t, deploy+"/alertmanager/alertmanager.yaml"), "    ")
	if !strings.Contains(text, "\n    slack_configs:") || !strings.Contains(text, "\n    pagerduty_configs:") {
		t.Fatal("the examples were not found")
	}
	tool(t, "amtool", "check-config", file(t, "alertmanager.yaml", text))
}

// The expressions of the dashboards parse.
func TestDashboardExpressions(t *testing.T) {
	rules := "groups:\n- name: panels\n  rules:\n"
	for i, expr := range expressions(t) {
		expr = filled(expr)
		rules += fmt.Sprintf("  - record: panel:%d\n    expr: %q\n", i, expr)
	}
	tool(t, "promtool", "check", "rules", file(t, "rules.yaml", rules))
}

// filled returns an expression of a panel with values for its variables.
func filled(expr string) string {
	return strings.NewReplacer("$__rate_interval", "1m", "$company", ".*", "$namespace", ".*").Replace(expr)
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
