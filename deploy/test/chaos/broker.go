package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// node is one broker of a world.
type node struct {
	name    string
	client  string // address for clients; theirs go through links
	routes  string // address for the other nodes
	monitor string
	disk    *disk
	program *program
}

// newKeys makes a key and an account for each service, as production has them, and a user for ourselves who
// may read everything. Services of an older version may not fit these accounts: they have no keys.
func (w *world) newKeys(ctx context.Context) error {
	if w.programs.old != nil {
		return nil
	}
	w.keys = filepath.Join(w.dir, "keys")
	said, err := exec.CommandContext(ctx, w.programs.service("provisioner", newVersion), "keys", w.keys).CombinedOutput()
	if err != nil {
		return fmt.Errorf("provisioner keys: %w: %s", err, said)
	}
	conf, err := os.ReadFile(filepath.Join(w.keys, "users.conf"))
	if err != nil {
		return err
	}
	const account = "tieback: {\n"
	text := strings.Replace(string(conf), account, account+"  users: [{user: chaos, password: chaos}]\n", 1)
	if text == string(conf) {
		return fmt.Errorf("%s/users.conf has no account of the streams", w.keys)
	}
	return os.WriteFile(filepath.Join(w.dir, "accounts.conf"), []byte(text), 0o600)
}

// key is a service's seed file; "": there are no keys.
func (w *world) key(service string) string {
	if w.keys == "" {
		return ""
	}
	return filepath.Join(w.keys, service+".nk")
}

func (w *world) newNodes(n int) error {
	for i := range n {
		node := &node{name: fmt.Sprintf("broker%d", i)}
		for _, addr := range []*string{&node.client, &node.routes, &node.monitor} {
			var err error
			if *addr, err = w.ports.take(); err != nil {
				return err
			}
		}
		var err error
		if node.disk, err = newDisk(filepath.Join(w.dir, node.name)); err != nil {
			return err
		}
		w.nodes = append(w.nodes, node)
	}
	for _, node := range w.nodes {
		if err := w.configure(node); err != nil {
			return err
		}
	}
	return nil
}

// configure writes a node's configuration as production has it: files, every write synced.
// Between nodes each pair has a link each way; what a node tells others of its address leads nowhere, or
// they would find ways around the links.
func (w *world) configure(n *node) error {
	text := fmt.Sprintf(`server_name: %s
listen: %q
http: %q
max_payload: 8MB
lame_duck_grace_period: 2s
jetstream { store_dir: %q, max_file_store: 10GB, sync_interval: always }
`, n.name, n.client, n.monitor, n.disk.dir)
	if len(w.nodes) > 1 {
		var routes []string
		for _, other := range w.nodes {
			if other == n {
				continue
			}
			l, err := w.network.link(n.name, other.name, other.routes)
			if err != nil {
				return err
			}
			routes = append(routes, fmt.Sprintf("%q", "nats://"+l.addr))
		}
		text += fmt.Sprintf("cluster { name: chaos, listen: %q, advertise: \"127.0.0.1:1\", no_advertise: true, routes: [%s] }\n",
			n.routes, strings.Join(routes, ", "))
	}
	if w.keys != "" {
		text += "accounts { include accounts.conf }\n"
	}
	path := filepath.Join(w.dir, n.name+".conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	n.program = &program{name: n.name, path: w.programs.path("nats-server"), args: []string{"-c", path}, logs: w.logs}
	return nil
}

var probe = &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: time.Second}).DialContext}}

func answers(url string) bool {
	resp, err := probe.Get(url)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// alive is the liveness probe: JetStream disables itself when its disk is full.
func (n *node) alive() bool { return answers("http://" + n.monitor + "/healthz?js-enabled-only=true") }

// healthy says that it has all that the cluster knows.
func (n *node) healthy() bool { return answers("http://" + n.monitor + "/healthz") }

// orchestrate starts a broker node again whose liveness probe fails for 5 seconds. One that was asked
// to end is not probed: a lame duck has no JetStream.
func (w *world) orchestrate(ctx context.Context) {
	since := map[*node]time.Time{}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, n := range w.nodes {
			if !n.program.running() || n.program.isRetired() || n.alive() {
				delete(since, n)
				continue
			}
			if since[n].IsZero() {
				since[n] = time.Now()
			}
			if time.Since(since[n]) > 5*time.Second {
				delete(since, n)
				w.watch.note("probed", n.name)
				n.program.kill(0)
			}
		}
	}
}
