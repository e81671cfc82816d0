package main

import (
	"os/exec"
	"strings"
	"testing"
)

func TestOlderRefusesIncompatibleCommit(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range [][]string{
		{"init", "-q"},
		{"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "--allow-empty", "-m", "the first commit"},
	} {
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	_, _, err := older(t.Context(), t.TempDir(), "HEAD")
	if err == nil || !strings.Contains(err.Error(), "the first commit) has other names") {
		t.Errorf("got the error %v, want that it has other names", err)
	}
}
