package provisioner_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/tieback/tieback/pkg/bus/topology"
	"github.com/tieback/tieback/services/provisioner"
)

// run runs the program without settings and returns its exit code and output.
func run(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := provisioner.Run(t.Context(), args, func(string) string { return "" }, &out, &errs)
	return code, out.String() + errs.String()
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// Missing keys are created with mode 0600, and the broker's users file has each public key and no seed.
func TestKeysAreCreatedOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	code, output := run(t, "keys", dir)
	if code != 0 || strings.Count(output, ": created, U") != len(topology.Users()) {
		t.Fatalf("exit %d:\n%s", code, output)
	}
	if m := mode(t, dir); m != 0o700 {
		t.Errorf("the folder's mode is %o", m)
	}
	users := filepath.Join(dir, "users.conf")
	conf := read(t, users)
	seeds := map[string]string{}
	for _, service := range topology.Users() {
		file := filepath.Join(dir, service+".nk")
		seeds[service] = read(t, file)
		pair, err := nkeys.FromSeed([]byte(strings.TrimSpace(seeds[service])))
		if err != nil {
			t.Fatalf("%s: %v", service, err)
		}
		public, _ := pair.PublicKey()
		if m := mode(t, file); m != 0o600 {
			t.Errorf("%s has mode %o", file, m)
		}
		if !strings.Contains(conf, public) || strings.Contains(conf+output, strings.TrimSpace(seeds[service])) {
			t.Errorf("%s: want its public key in the broker's file, and its seed nowhere", service)
		}
	}
	if m := mode(t, users); m != 0o644 {
		t.Errorf("the broker's file has mode %o", m)
	}
	if err := os.Remove(filepath.Join(dir, "sync.nk")); err != nil {
		t.Fatal(err)
	}
	code, output = run(t, "keys", dir)
	if code != 0 || strings.Count(output, ": exists, U") != len(topology.Users())-1 || !strings.Contains(output, "key of sync: created") {
		t.Errorf("with one key missing: exit %d:\n%s", code, output)
	}
	for service, seed := range seeds {
		if same := read(t, filepath.Join(dir, service+".nk")) == seed; same == (service == "sync") {
			t.Errorf("%s has the same seed as before: %v", service, same)
		}
	}
	if code, output = run(t, "keys", dir); code != 0 || !strings.Contains(output, "users.conf: unchanged") {
		t.Errorf("the third time: exit %d:\n%s", code, output)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != len(topology.Users())+1 {
		t.Errorf("%d files, %v", len(left), err)
	}
}

// The users file may be elsewhere, and the seeds may have another mode.
func TestUsersFileAndMode(t *testing.T) {
	dir, users := t.TempDir(), filepath.Join(t.TempDir(), "broker.conf")
	if code, output := run(t, "keys", "--users", users, "--mode", "0440", dir); code != 0 {
		t.Fatalf("exit %d: %s", code, output)
	}
	if _, err := os.Stat(filepath.Join(dir, "users.conf")); err == nil {
		t.Error("the users file is also in the folder of the keys")
	}
	if m := mode(t, filepath.Join(dir, "lag-exporter.nk")); m != 0o440 || !strings.Contains(read(t, users), "_INBOX_lag-exporter.>") {
		t.Errorf("a seed has mode %o, or the broker's file is incomplete", m)
	}
}

// The keys of backups are made only if they are asked for, and then kept.
func TestBackupKeysAreOptional(t *testing.T) {
	dir := t.TempDir()
	users := filepath.Join(dir, "users.conf")
	for _, c := range []struct {
		flags []string
		want  bool
	}{{nil, false}, {[]string{"--backup"}, true}, {nil, true}, {[]string{"--rotate"}, true}} {
		if code, output := run(t, append(append([]string{"keys"}, c.flags...), dir)...); code != 0 {
			t.Fatalf("exit %d: %s", code, output)
		}
		for _, u := range topology.CopyUsers() {
			if _, err := os.Stat(filepath.Join(dir, u+".nk")); (err == nil) != c.want || strings.Contains(read(t, users), "_INBOX_"+u+".>") != c.want {
				t.Errorf("after %v the key of %s exists: %v, want %v", c.flags, u, err == nil, c.want)
			}
		}
	}
}

// A file that is not a seed is not overwritten. The error names the file and does not show its content.
func TestInvalidSeedIsNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "export.nk")
	if err := os.WriteFile(file, []byte("hush-hush"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, output := run(t, "keys", dir)
	if code != 1 || !strings.Contains(output, file) || strings.Contains(output, "hush") || read(t, file) != "hush-hush" {
		t.Errorf("exit %d: %s", code, output)
	}
	if _, err := os.Stat(filepath.Join(dir, "users.conf")); err == nil {
		t.Error("a users file was written without the key of export")
	}
}

func TestUsageErrorExitsWith2(t *testing.T) {
	for want, args := range map[string][]string{
		"TIEBACK_NATS_URL":      {},
		`["now"]: want []`:      {"now"},
		`[]: want ["DIR"]`:      {"keys"},
		`want ["DIR"]`:          {"keys", "a", "b"},
		"not a mode":            {"keys", "--mode", "rw", "a"},
		"in numbers":            {"keys", "--owner", "nonroot", "a"},
		"not defined":           {"--keys"},
		"usage: provisioner":    {"-h"},
		"provisioner keys [--u": {"keys", "-h"},
	} {
		if code, output := run(t, args...); code != 2 || !strings.Contains(output, want) {
			t.Errorf("provisioner %v: exit %d: %s", args, code, output)
		}
	}
}

// If the broker can't be reached within --wait, the error has the reason.
func TestUnreachableBrokerExitsWith1(t *testing.T) {
	env := map[string]string{"TIEBACK_NATS_URL": "nats://127.0.0.1:1", "TIEBACK_LOG_LEVEL": "error"}
	var out, errs bytes.Buffer
	code := provisioner.Run(t.Context(), []string{"--wait", "300ms"}, func(name string) string { return env[name] }, &out, &errs)
	if code != 1 || !strings.Contains(errs.String(), "TIEBACK_NATS_URL") {
		t.Errorf("exit %d: %s", code, errs.String())
	}
}
