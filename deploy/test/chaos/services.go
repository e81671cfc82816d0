package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/tokenhash"
)

// service is a process of the pipeline.
type service struct {
	*program          // named after the service, with a number after the first instance
	service    string // its name
	generation int    // instances before it
	admin      string // address
	listen     string // address: of ingest's webhooks
}

func (cl *cluster) newServices(context.Context) error {
	ingest, err := cl.ports.take()
	if err != nil {
		return err
	}
	for _, name := range cl.programs.services {
		s := &service{service: name, listen: ingest, program: &program{name: name, path: cl.programs.service(name, oldVersion), logs: cl.logs}}
		if s.env, err = cl.environment(s, ingest); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		s.up = func() { cl.recorder.restarted(s) }
		cl.services = append(cl.services, s)
	}
	if cl.balancer != nil {
		return cl.connect(cl.balancer.addr)
	}
	hook, err := cl.network.link("procore", "ingest", ingest)
	if err != nil {
		return err
	}
	return cl.connect(hook.addr)
}

// environment returns the environment of a service, in which every address is a link of its own.
func (cl *cluster) environment(s *service, ingest string) (env []string, err error) {
	if s.admin, err = cl.ports.take(); err != nil {
		return nil, err
	}
	var urls []string
	for _, n := range cl.nodes {
		l, err := cl.network.link(s.name, n.name, n.client)
		if err != nil {
			return nil, err
		}
		urls = append(urls, "nats://"+l.addr)
	}
	procore, err := cl.network.link(s.name, "procore", cl.procore)
	if err != nil {
		return nil, err
	}
	companies, err := cl.companies(s)
	if err != nil {
		return nil, err
	}
	access, err := cl.access()
	if err != nil {
		return nil, err
	}
	topology := "create"
	if cl.programs.old == nil { // as in production; an older version may lack the setting
		topology = "managed"
	}
	return []string{
		"TIEBACK_NATS_TOPOLOGY=" + topology, "TIEBACK_NATS_NKEY_FILE=" + cl.key(s.service),
		"PATH=" + os.Getenv("PATH"), "HOME=" + cl.dir, "TIEBACK_DATA=" + filepath.Join(cl.dir, s.name),
		"TIEBACK_NATS_URL=" + strings.Join(urls, ","), "TIEBACK_NATS_REPLICAS=" + strconv.Itoa(len(cl.nodes)),
		"TIEBACK_PROCORE_API_URL=http://" + procore.addr, "TIEBACK_PROCORE_LOGIN_URL=http://" + procore.addr,
		"TIEBACK_COMPANIES=" + companies, "TIEBACK_WEBHOOKS=" + cl.webhooks(), "TIEBACK_INGEST_ADDR=" + ingest, "TIEBACK_ADMIN_ADDR=" + s.admin, "GOMAXPROCS=2",
		"TIEBACK_CONSOLE_ADDR=127.0.0.1:0", "TIEBACK_CONSOLE_ACCESS=" + access,
		"TIEBACK_SWEEP_EVERY=5s", // five minutes, at this speed
	}, nil
}

// provision runs the provisioner, as the Job does before the start and before an upgrade.
func (cl *cluster) provision(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, cl.programs.service("provisioner", newVersion))
	cmd.Env = append(slices.Clone(cl.services[0].env), "TIEBACK_NATS_NKEY_FILE="+cl.key("provisioner"))
	said, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("provisioner: %w: %s", err, said)
	}
	return os.WriteFile(filepath.Join(cl.logs, "provisioner.log"), said, 0o600)
}

// companies writes the companies file of a service, with links of its own to the ERP.
func (cl *cluster) companies(s *service) (string, error) {
	direct, err := cl.network.link(s.name, "ledger", cl.erp.addr)
	if err != nil {
		return "", err
	}
	proxy, err := cl.network.link(s.name, "fault proxy", cl.erp.proxy.addr)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("companies:\n")
	for _, f := range cl.firms {
		addr := direct.addr
		if f.faulty {
			addr = proxy.addr
		}
		fmt.Fprintf(&b, `  - id: %d
    name: Builders %d
    client_id: %s
    client_secret: %s
    webhook_tokens: [%s]
    standard_cost_code_list_id: %d
    connector: {driver: remote, address: %q, tls: "off"}
`, f.id, f.id, f.clientID, f.clientSecret, f.webhookToken, f.costCodeList, addr)
	}
	hashes := tokenhash.Hashes{}
	for _, f := range cl.firms {
		hashes[f.id] = []tokenhash.Hash{tokenhash.Of(f.webhookToken)}
	}
	path := filepath.Join(cl.dir, "companies-"+s.name+".yaml")
	return path, errors.Join(os.WriteFile(path, []byte(b.String()), 0o600), company.WriteWebhookTokenHashes(cl.webhooks(), hashes))
}

// access writes the console's access file, with the hash of a random token, and returns its path.
func (cl *cluster) access() (string, error) {
	path := filepath.Join(cl.dir, "access.yaml")
	text := fmt.Sprintf("tokens: [{name: chaos, token_sha256: [%x], role: viewer, companies: all}]\n", tokenhash.Of(rand.Text()))
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// webhooks is the file that ingest reads.
func (cl *cluster) webhooks() string { return filepath.Join(cl.dir, "webhooks.json") }

func (s *service) ready() bool { return answers("http://" + s.admin + "/readyz") }

// finished returns the number of successful attempts since the process started; false: it does not answer.
func (s *service) finished() (int, bool) {
	client := http.Client{Timeout: time.Second}
	resp, err := client.Get("http://" + s.admin + "/metrics")
	if err != nil {
		return 0, false
	}
	defer resp.Body.Close()
	n := 0.0
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, "tieback_attempts_total{") || !strings.Contains(line, `verdict="done"`) {
			continue
		}
		if v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64); err == nil {
			n += v
		}
	}
	return int(n), true
}
