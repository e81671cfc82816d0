package company_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tieback/tieback/pkg/company"
)

// fixture is a companies file of two companies with its watcher. The secrets of company 7 are in files.
type fixture struct {
	*testing.T
	dir     string
	set     company.Set
	watcher *company.Watcher
	log     *observer.ObservedLogs
}

const (
	oldSecret, newSecret = "old-client-secret", "new-client-secret"
	oldToken, newToken   = "old-token-old-token", "new-token-new-token"
	second               = `  - {id: 8, client_id: eight, client_secret: "8secret", webhook_tokens: [token-of-eight-token], connector: {driver: ledger}}`
)

func newFixture(t *testing.T) *fixture {
	t.Helper()
	h := &fixture{T: t, dir: t.TempDir()}
	h.write("secret", oldSecret)
	h.write("tokens", oldToken)
	h.write("password", "old-password")
	h.write("companies.yaml", h.companies(second))
	var err error
	if h.set, _, err = company.Load(h.path("companies.yaml")); err != nil {
		t.Fatal(err)
	}
	core, log := observer.New(zapcore.InfoLevel)
	h.log, h.watcher = log, company.NewWatcher(h.path("companies.yaml"), h.set, zap.New(core))
	return h
}

func (h *fixture) path(name string) string { return filepath.Join(h.dir, name) }

func (h *fixture) write(name, text string) {
	h.Helper()
	if err := os.WriteFile(h.path(name), []byte(text), 0o600); err != nil {
		h.Fatal(err)
	}
}

// companies returns the companies file: company 7 and others.
func (h *fixture) companies(others string) string {
	return fmt.Sprintf(`companies:
  - id: 7
    name: Acme
    client_id: seven
    client_secret_file: %s
    webhook_tokens_file: %s
    standard_cost_code_list_id: 2
    connector: {driver: tryton, user: tieback, password_file: %s}
%s
`, h.path("secret"), h.path("tokens"), h.path("password"), others)
}

// poll polls twice, so that a change is applied.
func (h *fixture) poll() {
	h.watcher.Poll()
	h.watcher.Poll()
}

// has checks the secrets of company 7.
func (h *fixture) has(secret, token, password string) {
	h.Helper()
	c := h.set[7]
	if is := c.Client.Credentials().Secret; string(is) != secret {
		h.Errorf("the client secret is %q, want %q", string(is), secret)
	}
	for _, t := range []string{oldToken, newToken} {
		if c.Authentic(t) != strings.Contains(token, t) {
			h.Errorf("Authentic(%s) = %v, want only %s", t, c.Authentic(t), token)
		}
	}
	if is := c.Settings()["password"]; is != password {
		h.Errorf("the ERP's password is %q, want %q", is, password)
	}
}

// logged returns the log lines of a level, with their fields.
func (h *fixture) logged(level zapcore.Level) (lines []string) {
	for _, e := range h.log.FilterLevelExact(level).All() {
		lines = append(lines, fmt.Sprint(e.Message, e.ContextMap()))
	}
	return lines
}

func TestRotatedSecretsApplyWithoutRestart(t *testing.T) {
	h := newFixture(t)
	h.poll()
	h.has(oldSecret, oldToken, "old-password")
	if lines := h.logged(zapcore.InfoLevel); len(lines) > 0 {
		t.Errorf("without a change the log has %v", lines)
	}
	h.write("tokens", oldToken+"\n"+newToken+"\n")
	h.poll()
	h.has(oldSecret, oldToken+newToken, "old-password")
	h.write("tokens", newToken)
	h.write("secret", newSecret+"\n")
	h.write("password", "new-password")
	h.poll()
	h.poll()
	h.has(newSecret, newToken, "new-password")
	lines := h.logged(zapcore.InfoLevel)
	if len(lines) != 3 || !strings.Contains(lines[1], "webhook_tokens connector.password") || !strings.Contains(lines[1], "company:7") {
		t.Errorf("the log of the two rotations: %v", lines)
	}
	// Procore may refuse the new secret in the file.
	if last := lines[len(lines)-1]; strings.Contains(last, "rotated") || !strings.Contains(last, "client_secret") || !strings.Contains(last, "company 7") {
		t.Errorf("the log line of the client's secret is %s", last)
	}
}

// A writer truncates a file and writes it in two parts. A state that is seen only once is not applied.
func TestIncompleteFileChangesNothing(t *testing.T) {
	h := newFixture(t)
	h.poll()
	whole := strings.Replace(h.companies(second), "seven", "seven2", 1)
	for _, cut := range []int{0, 12, strings.Index(whole, "  - {id: 8"), len(whole) - 30} {
		h.write("companies.yaml", whole[:cut])
		h.watcher.Poll()
		h.has(oldSecret, oldToken, "old-password")
	}
	h.write("companies.yaml", whole)
	for _, half := range []string{"", newSecret[:5]} {
		h.write("secret", half)
		h.watcher.Poll()
		h.has(oldSecret, oldToken, "old-password")
	}
	h.write("secret", newSecret)
	h.poll()
	h.has(newSecret, oldToken, "old-password")
	if id := h.set[7].Client.Credentials().ID; id != "seven2" {
		t.Errorf("the client id is %q", id)
	}
	if lines := append(h.logged(zapcore.ErrorLevel), h.logged(zapcore.WarnLevel)...); len(lines) > 0 {
		t.Errorf("an incomplete file was logged: %v", lines)
	}
}

func TestInvalidFileIsLoggedOnceWithoutValues(t *testing.T) {
	for name, c := range map[string]struct{ file, text, says string }{
		"no YAML":            {"companies.yaml", "companies:\n  - id: 7\n  client_secret: hush-hush\n", "line "},
		"a value of a type":  {"companies.yaml", "companies:\n  - {id: 7, client_id: x, client_secret: y, webhook_tokens: hush}\n", "line 2"},
		"a value with ticks": {"companies.yaml", "companies:\n  - {id: 'x`hush`', client_id: x, client_secret: y, webhook_tokens: 'a`hus`h'}\n", "line 2"},
		"an unknown anchor":  {"companies.yaml", "companies:\n  - {id: 7, client_secret: *hush-hush }\n", "anchor"},
		"an empty secret":    {"secret", " \n", "client_secret_file"},
		"no password":        {"password", "", "connector.password_file"},
		"short tokens":       {"tokens", "hush", "webhook_tokens"},
		"three tokens":       {"tokens", "hush-hush-hush-hush hush-hush-hush-hush hush-hush-hush-hush", "there are 3"},
		"an empty file":      {"companies.yaml", "", "the list is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFixture(t)
			h.poll()
			before, err := os.ReadFile(h.path(c.file))
			if err != nil {
				t.Fatal(err)
			}
			h.write(c.file, c.text)
			for range 5 {
				h.watcher.Poll()
			}
			h.has(oldSecret, oldToken, "old-password")
			lines := h.logged(zapcore.ErrorLevel)
			if len(lines) != 1 || !strings.Contains(lines[0], c.says) || strings.Contains(lines[0], "hush") {
				t.Errorf("want one error that says %q and no value: %v", c.says, lines)
			}
			h.write(c.file, string(before))
			h.poll()
			if lines := h.logged(zapcore.InfoLevel); len(lines) != 1 || !strings.Contains(lines[0], "is valid again") {
				t.Errorf("want a line that the file is valid again: %v", lines)
			}
		})
	}
}

func TestInvalidCompanyDoesNotDelayRotationsOfOthers(t *testing.T) {
	h := newFixture(t)
	h.poll()
	h.write("companies.yaml", h.companies(strings.ReplaceAll(second, `client_secret: "8secret"`, `client_secret_file: /nowhere`)))
	h.write("secret", newSecret)
	h.poll()
	h.has(newSecret, oldToken, "old-password")
	if secret := h.set[8].Client.Credentials().Secret; string(secret) != "8secret" {
		t.Errorf("company 8 has lost its secret: %q", string(secret))
	}
	if lines := h.logged(zapcore.ErrorLevel); len(lines) != 1 || !strings.Contains(lines[0], "companies[1]: client_secret_file") {
		t.Errorf("%v", lines)
	}
	if lines := h.logged(zapcore.WarnLevel); len(lines) > 0 {
		t.Errorf("company 8 is still in the file, but the log has %v", lines)
	}
}

func TestOtherSettingsNeedRestart(t *testing.T) {
	h := newFixture(t)
	h.poll()
	ninth := strings.NewReplacer("id: 8", "id: 9", "eight", "nine").Replace(second)
	h.write("companies.yaml", strings.NewReplacer("driver: tryton", "driver: remote", "name: Acme", "name: Acme\n    webhook_namespace: other\n    time_zone: Asia/Tokyo\n    resets: remove").Replace(h.companies(ninth)))
	h.write("password", "new-password")
	h.write("tokens", newToken)
	for range 4 {
		h.watcher.Poll()
	}
	h.has(oldSecret, newToken, "old-password") // the new settings are for another driver
	if h.set[9] != nil || h.set[8] == nil || h.set[7].Driver != "tryton" {
		t.Errorf("the set changed: %v", h.set)
	}
	lines := strings.Join(h.logged(zapcore.WarnLevel), "\n")
	for _, says := range []string{"new company: restart", "company:9", "removed from the companies file", "company:8", "connector.driver", "webhook_namespace", "time_zone", "resets"} {
		if !strings.Contains(lines, says) {
			t.Errorf("no line says %q: %s", says, lines)
		}
	}
	if n := strings.Count(lines, "\n") + 1; n != 3 {
		t.Errorf("%d warnings, want 3, each once: %s", n, lines)
	}
}

// Kubernetes mounts ..data, a symbolic link to a folder, and replaces the link: the named file itself does not
// change.
func TestReplacedSymbolicLinkIsDetected(t *testing.T) {
	h := newFixture(t)
	for _, v := range []string{"v1", "v2"} {
		if err := os.Mkdir(h.path(v), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	h.write("v1/secret", oldSecret)
	h.write("v2/secret", newSecret)
	point := func(to string) {
		t.Helper()
		if err := os.Symlink(to, h.path("..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(h.path("..tmp"), h.path("..data")); err != nil {
			t.Fatal(err)
		}
	}
	point("v1")
	h.write("companies.yaml", strings.Replace(h.companies(second), h.path("secret"), h.path("..data/secret"), 1))
	h.poll()
	h.has(oldSecret, oldToken, "old-password")
	point("v2")
	h.poll()
	h.has(newSecret, oldToken, "old-password")
}

func TestPollDoesNotBlockOnPipe(t *testing.T) {
	h := newFixture(t)
	h.poll()
	if err := os.Remove(h.path("secret")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(h.path("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.poll()
	h.has(oldSecret, oldToken, "old-password")
	if lines := h.logged(zapcore.ErrorLevel); len(lines) != 1 || !strings.Contains(lines[0], "not a regular file") {
		t.Errorf("%v", lines)
	}
}

// Readers see consistent secrets during a rotation. Run with -race.
func TestReadersSeeConsistentSecrets(t *testing.T) {
	h := newFixture(t)
	h.poll()
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				is := h.set[8].Client.Credentials()
				id, secret := is.ID, is.Secret
				if strings.TrimPrefix(id, "eight") != strings.TrimPrefix(string(secret), "8secret") {
					t.Errorf("id %s with secret %s", id, string(secret))
					return
				}
				h.set[8].Authentic("token-of-eight-token")
				_ = h.set[8].Settings()["any"]
			}
		})
	}
	for n := range 50 {
		rotated := strings.NewReplacer("client_id: eight", fmt.Sprint("client_id: eight", n), "8secret", fmt.Sprint("8secret", n)).Replace(second)
		h.write("companies.yaml", h.companies(rotated))
		h.poll()
		if id := h.set[8].Client.Credentials().ID; id != fmt.Sprint("eight", n) {
			t.Fatalf("rotation %d is not applied: %s", n, id)
		}
	}
	close(done)
	readers.Wait()
}
