package provisioner_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// At each step of a rotation the users file has the key that services use, and the key that they use next.
func TestRotationKeepsKeysInUse(t *testing.T) {
	dir := t.TempDir()
	users := filepath.Join(dir, "users.conf")
	step := func(want int, args ...string) string {
		t.Helper()
		code, output := run(t, append(append([]string{"keys"}, args...), dir)...)
		if code != want {
			t.Fatalf("keys %v: exit %d, want %d: %s", args, code, want, output)
		}
		return output
	}
	public := func(output string) string { // of export
		_, after, _ := strings.Cut(output, "key of export: ")
		line, _, _ := strings.Cut(after, "\n")
		return line[strings.LastIndex(line, " ")+1:]
	}
	keys := func() int { return strings.Count(read(t, users), "nkey:") }
	first := public(step(0))
	if output := step(0, "--rotate"); public(output) != first || keys() != 2*len(topology.Users()) {
		t.Fatalf("after the first step export uses %s, first %s; the broker accepts %d keys", public(output), first, keys())
	}
	second := public(step(0, "--rotate"))
	if second == first || keys() != 2*len(topology.Users()) || !strings.Contains(read(t, users), first) || !strings.Contains(read(t, users), second) {
		t.Fatalf("after the second step export uses %s, first %s; the broker accepts %d keys", second, first, keys())
	}
	if output := step(1, "--rotate"); !strings.Contains(output, "--retire") {
		t.Errorf("a rotation starts before the last one has ended: %s", output)
	}
	step(0, "--retire")
	if keys() != len(topology.Users()) || strings.Contains(read(t, users), first) || !strings.Contains(read(t, users), second) {
		t.Errorf("the old keys are still accepted, or the new ones are not:\n%s", read(t, users))
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != len(topology.Users())+1 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
	if code, _ := run(t, "keys", "--rotate", "--retire", dir); code != 2 {
		t.Errorf("both at once: exit %d", code)
	}
}

// An interrupted rotation continues, and no key is used before the users file has it.
func TestInterruptedRotationContinues(t *testing.T) {
	dir := t.TempDir()
	if code, output := run(t, "keys", dir); code != 0 {
		t.Fatal(output)
	}
	users := filepath.Join(dir, "users.conf")
	before := read(t, users)
	if code, output := run(t, "keys", "--rotate", dir); code != 0 {
		t.Fatal(output)
	}
	if err := os.WriteFile(users, []byte(before), 0o600); err != nil { // as if the process had ended before it wrote the file
		t.Fatal(err)
	}
	seed := read(t, filepath.Join(dir, "export.nk"))
	if code, output := run(t, "keys", "--rotate", dir); code != 0 || read(t, filepath.Join(dir, "export.nk")) != seed {
		t.Fatalf("a key is used that the users file does not have: exit %d, %s", code, output)
	}
	if code, output := run(t, "keys", "--rotate", dir); code != 0 || read(t, filepath.Join(dir, "export.nk")) == seed {
		t.Fatalf("the next key is not used: exit %d, %s", code, output)
	}
}
