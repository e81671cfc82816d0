package provisioner

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/tieback/tieback/pkg/bus/topology"
)

// api answers for the secrets of one namespace as the Kubernetes API does. After each write the broker, which reads
// blue-nats-users, must accept the key of each service, which reads its own secret.
type api struct {
	t       *testing.T
	mu      sync.Mutex
	secrets map[string]*secret
	writes  int
	fail    int // the number of the write after which the API answers 500; 0: none
	version int
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/finance/secrets"), "/")
	refuse := func(code int, text string) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "message": text})
	}
	if r.Header.Get("Authorization") != "Bearer the-token" {
		refuse(401, "no token")
		return
	}
	have := a.secrets[name]
	switch r.Method {
	case http.MethodGet:
		if have == nil {
			refuse(404, name+" not found")
			return
		}
	case http.MethodPost, http.MethodPatch:
		if a.writes++; a.writes == a.fail {
			refuse(500, "out of order")
			return
		}
		var s secret
		if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
			a.t.Error(err)
		}
		if r.Method == http.MethodPost {
			if name = s.Metadata.Name; a.secrets[name] != nil {
				refuse(409, name+" already exists")
				return
			}
			a.secrets[name] = &s
		} else {
			if have == nil || have.Metadata.ResourceVersion != s.Metadata.ResourceVersion || r.Header.Get("Content-Type") != "application/merge-patch+json" {
				refuse(409, name+" has been modified")
				return
			}
			for file, content := range s.Data {
				if have.Data[file] = content; content == nil {
					delete(have.Data, file)
				}
			}
			maps.Copy(have.Metadata.Annotations, s.Metadata.Annotations)
		}
		have = a.secrets[name]
		a.version++
		have.Metadata.ResourceVersion = fmt.Sprint(a.version)
		a.consistent()
	default:
		refuse(405, r.Method)
		return
	}
	if err := json.NewEncoder(w).Encode(have); err != nil {
		a.t.Error(err)
	}
}

// consistent checks that the broker accepts the key of each service.
func (a *api) consistent() {
	for _, service := range topology.Users() {
		if s := a.secrets["blue-nkey-"+service]; s != nil {
			if key := a.public(service); !bytes.Contains(a.secrets["blue-nats-users"].Data["users.conf"], []byte(key)) {
				a.t.Errorf("after write %d the broker does not accept the key of %s", a.writes, service)
			}
		}
	}
}

func (a *api) public(service string) string {
	pair, err := nkeys.ParseDecoratedUserNKey(bytes.TrimSpace(a.secrets["blue-nkey-"+service].Data[service+".nk"]))
	if err != nil {
		a.t.Fatal(err)
	}
	key, err := pair.PublicKey()
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

// all returns the public keys of the services, and the number of keys that the broker accepts.
func (a *api) all() (map[string]string, int) {
	keys := map[string]string{}
	for _, service := range topology.Users() {
		keys[service] = a.public(service)
	}
	return keys, strings.Count(string(a.secrets["blue-nats-users"].Data["users.conf"]), "nkey:")
}

// keysIn runs the command against the API, as a pod with a ServiceAccount does.
func keysIn(t *testing.T, a *api, rotation string) error {
	t.Helper()
	return keysWith(t, a, rotation, false)
}

// keysWith is keysIn with or without the flag --backup.
func keysWith(t *testing.T, a *api, rotation string, backup bool) error {
	t.Helper()
	server := httptest.NewTLSServer(a)
	defer server.Close()
	host, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	account := t.TempDir()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, content := range map[string]string{"namespace": "finance", "ca.crt": string(ca), "token": "the-token\n"} {
		if err := os.WriteFile(filepath.Join(account, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := inCluster(func(name string) string {
		return map[string]string{"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}[name]
	}, account, "blue")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = c.keys(t.Context(), rotation, backup, 0, &out)
	if text := fmt.Sprint(out.String(), err); regexp.MustCompile(`\bSU[A-Z2-7]{56}\b`).MatchString(text) {
		t.Errorf("a seed is printed: %s", text)
	}
	return err
}

func TestClusterKeys(t *testing.T) {
	a := &api{t: t, secrets: map[string]*secret{}}
	run := func(rotation string) {
		t.Helper()
		if err := keysIn(t, a, rotation); err != nil {
			t.Fatal(err)
		}
	}
	run("1") // the keys are new, so there is nothing to rotate
	first, accepted := a.all()
	if accepted != len(topology.Users()) {
		t.Errorf("the broker accepts %d keys", accepted)
	}
	if a.writes != len(topology.Users())+2 {
		t.Errorf("an installation has %d writes; were the new keys rotated?", a.writes)
	}
	writes := a.writes
	run("1")
	run("")
	if again, _ := a.all(); a.writes != writes || !maps.Equal(again, first) {
		t.Errorf("%d more writes, although nothing changed", a.writes-writes)
	}
	// A version with other permissions.
	a.secrets["blue-keys"].Data["users.conf"] = []byte("older")
	a.secrets["blue-nats-users"].Data["users.conf"] = append([]byte("older "), a.secrets["blue-nats-users"].Data["users.conf"]...)
	run("")
	if bytes.HasPrefix(a.secrets["blue-nats-users"].Data["users.conf"], []byte("older")) {
		t.Error("the permissions are those of the older version")
	}
	run("2")
	second, accepted := a.all()
	for service, key := range second {
		if key == first[service] {
			t.Errorf("%s has the same key after a rotation", service)
		}
	}
	if accepted != len(topology.Users()) || len(a.secrets["blue-keys"].Data) != len(topology.Users())+1 {
		t.Errorf("after a rotation the broker accepts %d keys, and the folder has %d files", accepted, len(a.secrets["blue-keys"].Data))
	}
	run("2")
	if again, _ := a.all(); !maps.Equal(again, second) {
		t.Error("a rotation of the same name replaced the keys again")
	}
}

// With --backup there are two more keys. They stay without it, and a rotation replaces them too.
func TestClusterKeysOfBackups(t *testing.T) {
	a := &api{t: t, secrets: map[string]*secret{}}
	seeds := func() [2]string {
		var all [2]string
		for i, user := range topology.CopyUsers() {
			if s := a.secrets["blue-nkey-"+user]; s != nil {
				all[i] = string(s.Data[user+".nk"])
			}
		}
		return all
	}
	var have [][2]string
	for _, step := range []struct {
		rotation string
		backup   bool
	}{{"", false}, {"", true}, {"", false}, {"2", true}} {
		if err := keysWith(t, a, step.rotation, step.backup); err != nil {
			t.Fatal(err)
		}
		have = append(have, seeds())
	}
	if have[0] != [2]string{} || have[1][0] == "" || have[1][1] == "" || have[2] != have[1] || have[3][0] == have[2][0] || have[3][1] == have[2][1] {
		t.Error("the keys of backups were not created, did not stay, or were not rotated")
	}
	if _, accepted := a.all(); accepted != len(topology.Users())+2 {
		t.Errorf("the broker accepts %d keys", accepted)
	}
}

// Keys that were stored without this command stay.
func TestClusterKeysKeepExistingSeeds(t *testing.T) {
	a := &api{t: t, secrets: map[string]*secret{}}
	if err := keysIn(t, a, ""); err != nil {
		t.Fatal(err)
	}
	first, _ := a.all()
	delete(a.secrets, "blue-keys")
	if err := keysIn(t, a, ""); err != nil {
		t.Fatal(err)
	}
	if again, _ := a.all(); !maps.Equal(again, first) {
		t.Error("the keys were replaced")
	}
	delete(a.secrets, "blue-keys")
	if err := keysIn(t, a, "1"); err != nil {
		t.Fatal(err)
	}
	if again, _ := a.all(); again["export"] == first["export"] {
		t.Error("the first rotation of keys that were stored without this command did nothing")
	}
}

// The API may fail at any write. The next run continues, and the broker always accepts the keys that services have.
func TestClusterKeysContinueAfterFailure(t *testing.T) {
	for fail := 1; ; fail++ {
		a := &api{t: t, secrets: map[string]*secret{}}
		if err := keysIn(t, a, "1"); err != nil {
			t.Fatal(err)
		}
		first, _ := a.all()
		a.writes, a.fail = 0, fail
		err := keysIn(t, a, "2")
		if err == nil {
			if fail < len(topology.Users())+4 {
				t.Errorf("a rotation has only %d writes", fail-1)
			}
			return
		}
		if !strings.Contains(err.Error(), "out of order") {
			t.Fatal(err)
		}
		a.fail = 0
		if err := keysIn(t, a, "2"); err != nil {
			t.Fatalf("after write %d failed: %v", fail, err)
		}
		second, accepted := a.all()
		if second["export"] == first["export"] || second["ingest"] == first["ingest"] || accepted != len(topology.Users()) {
			t.Errorf("after write %d failed, the rotation did not end: the broker accepts %d keys", fail, accepted)
		}
	}
}

// Two runs at a time do not overwrite each other's keys.
func TestClusterKeysConflict(t *testing.T) {
	a := &api{t: t, secrets: map[string]*secret{}}
	if err := keysIn(t, a, "1"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(a)
	defer server.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("the-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &cluster{client: server.Client(), secrets: server.URL + "/api/v1/namespaces/finance/secrets", token: token, name: "blue"}
	dir := t.TempDir()
	k := keyFolder{dir: dir, users: filepath.Join(dir, "users.conf"), mode: 0o600, uid: -1, gid: -1}
	if err := c.load(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if err := keysIn(t, a, "2"); err != nil {
		t.Fatal(err)
	}
	// The folder did not change in this run, so only the other secrets would be written.
	stale := c.folder
	if err := c.save(t.Context(), k, "1"); err == nil || !strings.Contains(err.Error(), "newer keys") {
		t.Errorf("the other run's keys were overwritten: %v", err)
	}
	c.folder = stale
	if err := k.rotate(io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := c.save(t.Context(), k, "3"); err == nil || !strings.Contains(err.Error(), "409") {
		t.Errorf("the other run's keys were overwritten: %v", err)
	}
}

func TestClusterKeysNeedsPod(t *testing.T) {
	var errs bytes.Buffer
	if code := Run(t.Context(), []string{"cluster-keys", "blue"}, func(string) string { return "" }, io.Discard, &errs); code != 1 || !strings.Contains(errs.String(), "provisioner keys DIR") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}
