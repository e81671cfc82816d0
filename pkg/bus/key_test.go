package bus

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"
	"go.uber.org/zap"
)

// The error for an invalid key file names the setting, and does not contain the content of the file.
func TestInvalidKeyFile(t *testing.T) {
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := account.Seed()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ url, text, says string }{
		"no seed":            {"nats://127.0.0.1:1", "hush-hush", "does not contain the nkey seed of a user"},
		"half a seed":        {"nats://127.0.0.1:1", string(seed[:30]), "does not contain the nkey seed of a user"},
		"an account's":       {"nats://127.0.0.1:1", string(wrong), "does not contain the nkey seed of a user"},
		"no file":            {"nats://127.0.0.1:1", "", "no such file"},
		"a second URL's one": {"nats://127.0.0.1:1,nats://hush:hush@127.0.0.1:2", string(seed), "has a user too"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "key")
			if c.text != "" {
				if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Connect(t.Context(), Options{URL: c.url, NKeyFile: file, Log: zap.NewNop()})
			if err == nil || !strings.Contains(err.Error(), "TIEBACK_NATS_NKEY_FILE") || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("error %v, want %q and TIEBACK_NATS_NKEY_FILE", err, c.says)
			}
			for _, value := range []string{"hush", string(seed[:30]), string(wrong)} {
				if strings.Contains(err.Error(), value) {
					t.Errorf("the error contains the content of the file: %v", err)
				}
			}
		})
	}
}

// White space around a seed is ignored.
func TestSeedWithWhiteSpace(t *testing.T) {
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := user.Seed()
	want, _ := user.PublicKey()
	for _, text := range []string{string(seed), string(seed) + "\n", "\n" + string(seed) + "\r\n", "  " + string(seed) + "\n"} {
		k := &key{file: filepath.Join(t.TempDir(), "key")}
		if err := os.WriteFile(k.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, public, err := k.read(); err != nil || public != want {
			t.Errorf("%q: %v", strings.ReplaceAll(text, string(seed), "SEED"), err)
		}
	}
}
