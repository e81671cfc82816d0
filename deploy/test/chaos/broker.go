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

// node is one broker of a cluster.
type node struct {
	name    string
	client  string // address for clients; theirs go through links
	routes  string // address for the other nodes
	monitor string
	disk    *disk
	program *program
}

// newKeys creates a key and an account for each service, as in production, and a user for the checker that may read everything.
// A rolling upgrade from an older version has no keys, because its services may need other permissions.
func (cl *cluster) newKeys(ctx context.Context) error {
	if cl.programs.old != nil {
		return nil
	}
	cl.keys = filepath.Join(cl.dir, "keys")
	said, err := exec.CommandContext(ctx, cl.programs.service("provisioner", newVersion), "keys", cl.keys).CombinedOutput()
	if err != nil {
		return fmt.Errorf("provisioner keys: %w: %s", err, said)
	}
	conf, err := os.ReadFile(filepath.Join(cl.keys, "users.conf"))
	if err != nil {
		return err
	}
	const account = "tieback: {\n"
	text := strings.Replace(string(conf), account, account+"  users: [{user: chaos, password: chaos}]\n", 1)
	if text == string(conf) {
		return fmt.Errorf("%s/users.conf has no account of the streams", cl.keys)
	}
	return os.WriteFile(filepath.Join(cl.dir, "accounts.conf"), []byte(text), 0o600)
}

// key returns the seed file of a service; "": there are no keys.
func (cl *cluster) key(service string) string {
	if cl.keys == "" {
		return ""
	}
	return filepath.Join(cl.keys, service+".nk")
}

func (cl *cluster) newNodes(n int) error {
	for i := range n {
		node := &node{name: fmt.Sprintf("broker%d", i)}
		for _, addr := range []*string{&node.client, &node.routes, &node.monitor} {
			var err error
			if *addr, err = cl.ports.take(); err != nil {
				return err
			}
		}
		var err error
		if node.disk, err = newDisk(filepath.Join(cl.dir, node.name)); err != nil {
			return err
		}
		cl.nodes = append(cl.nodes, node)
	}
	for _, node := range cl.nodes {
		if err := cl.configure(node); err != nil {
			return err
		}
	}
	return nil
}

// configure writes the configuration of a node, with files and synced writes as in production. Each pair of nodes has a link in
// each direction. A node advertises an unusable address to the others, so that they connect over the links only.
func (cl *cluster) configure(n *node) error {
	text := fmt.Sprintf(`server_name: %s
listen: %q
http: %q
max_payload: 8MB
lame_duck_grace_period: 2s
jetstream { store_dir: %q, max_file_store: 10GB, sync_interval: always }
`, n.name, n.client, n.monitor, n.disk.dir)
	if len(cl.nodes) > 1 {
		var routes []string
		for _, other := range cl.nodes {
			if other == n {
				continue
			}
			l, err := cl.network.link(n.name, other.name, other.routes)
			if err != nil {
				return err
			}
			routes = append(routes, fmt.Sprintf("%q", "nats://"+l.addr))
		}
		text += fmt.Sprintf("cluster { name: chaos, listen: %q, advertise: \"127.0.0.1:1\", no_advertise: true, routes: [%s] }\n",
			n.routes, strings.Join(routes, ", "))
	}
	if cl.keys != "" {
		text += "accounts { include accounts.conf }\n"
	}
	path := filepath.Join(cl.dir, n.name+".conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	n.program = &program{name: n.name, path: cl.programs.path("nats-server"), args: []string{"-c", path}, logs: cl.logs}
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

// alive is the liveness probe. It fails if JetStream has disabled itself, as it does when its disk is full.
func (n *node) alive() bool { return answers("http://" + n.monitor + "/healthz?js-enabled-only=true") }

// healthy reports whether the node has caught up with the cluster.
func (n *node) healthy() bool { return answers("http://" + n.monitor + "/healthz") }

// orchestrate restarts broker nodes whose liveness probe fails for 5 seconds. A node that was told to end is not probed, because
// it has no JetStream in lame duck mode.
func (cl *cluster) orchestrate(ctx context.Context) {
	since := map[*node]time.Time{}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, n := range cl.nodes {
			if !n.program.running() || n.program.isRetired() || n.alive() {
				delete(since, n)
				continue
			}
			if since[n].IsZero() {
				since[n] = time.Now()
			}
			if time.Since(since[n]) > 5*time.Second {
				delete(since, n)
				cl.recorder.note("probed", n.name)
				n.program.kill(0)
			}
		}
	}
}
