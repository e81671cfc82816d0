package bus

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"
	"go.uber.org/zap"
)

func TestABadBrokerKeyIsRefusedAtTheDoor(t *testing.T) {
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
		"no seed":            {"nats://127.0.0.1:1", "hush-hush", "no user's nkey seed"},
		"half a seed":        {"nats://127.0.0.1:1", string(seed[:30]), "no user's nkey seed"},
		"an account's":       {"nats://127.0.0.1:1", string(wrong), "no user's nkey seed"},
		"no file":            {"nats://127.0.0.1:1", "", "no such file"},
		"a second URL's one": {"nats://127.0.0.1:1,nats://hush:hush@127.0.0.1:2", string(seed), "names a user too"},
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
				t.Fatalf("want %q of TIEBACK_NATS_NKEY_FILE: %v", c.says, err)
			}
			for _, value := range []string{"hush", string(seed[:30]), string(wrong)} {
				if strings.Contains(err.Error(), value) {
					t.Errorf("the error holds the file's content: %v", err)
				}
			}
		})
	}
}

// A seed is taken as nsc writes it and as somebody pastes it.
func TestASeedMayHaveCompany(t *testing.T) {
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
