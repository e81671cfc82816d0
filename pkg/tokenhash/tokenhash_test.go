package tokenhash

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/secretfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, path string, h Hashes) {
	t.Helper()
	raw, err := h.Text()
	if err == nil {
		err = os.WriteFile(path, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The file contains no token.
func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "webhooks.json")
	write(t, path, Hashes{7: {Of("seven-seven-seven")}, 598134325841112: {Of("old-old-old-old"), Of("new-new-new-new")}})
	raw, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(raw), "new-new") || !strings.Contains(string(raw), `"598134325841112"`) {
		t.Fatalf("%v: %s", err, raw)
	}
	h, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	for token, company := range map[string]int64{"seven-seven-seven": 7, "old-old-old-old": 598134325841112, "new-new-new-new": 598134325841112} {
		if !h.Authentic(company, token) || h.Authentic(8, token) || h.Authentic(company, token+"x") {
			t.Errorf("%s is not accepted, or not only for company %d", token, company)
		}
	}
	if h.Authentic(8, "") || h.Authentic(7, "") {
		t.Error("an empty token is accepted")
	}
}

func TestErrorNamesField(t *testing.T) {
	dir := t.TempDir()
	for says, text := range map[string]string{
		"invalid character":  `companies`,
		"companies[0].id":    `{"companies":[{"id":"acme","token_sha256":["00"]}]}`,
		"is not a SHA-256":   `{"companies":[{"id":"7","token_sha256":["00"]}]}`,
		"want one entry":     `{"companies":[{"id":"7","token_sha256":[]}]}`,
		"not a regular file": "",
		"larger than 16 M":   strings.Repeat(" ", secretfile.MaxSize+1),
	} {
		path := filepath.Join(dir, "w.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if text == "" {
			path = dir
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q: %v", says, err)
		}
	}
}

// A rotation and a new company take effect without a restart. An invalid file changes nothing.
func TestWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "webhooks.json")
	write(t, path, Hashes{7: {Of("old")}})
	tokens, err := Open(path, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); tokens.Watch(ctx, time.Millisecond) }()
	defer func() { cancel(); <-done }()
	until := func(failure string, condition func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !condition(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal(failure)
			}
		}
	}
	write(t, path, Hashes{7: {Of("old"), Of("new")}, 8: {Of("eight")}})
	until("the new token is not accepted", func() bool {
		return tokens.Authentic(7, "new") && tokens.Authentic(7, "old") && tokens.Authentic(8, "eight")
	})
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	if !tokens.Authentic(7, "old") {
		t.Error("an invalid file removed the tokens")
	}
	write(t, path, Hashes{7: {Of("new")}})
	until("the old token is still accepted", func() bool {
		return !tokens.Authentic(7, "old") && tokens.Authentic(7, "new") && tokens.Companies() == 1
	})
}
