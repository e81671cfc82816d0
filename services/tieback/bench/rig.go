package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/tokenhash"
	"github.com/tieback/tieback/services/tieback/bench/reference"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// shape is a way to run a pipeline.
type shape struct {
	name      string
	companies int                          // with a client each; 0: one
	embedded  bool                         // the broker is in the pipeline's process
	parts     func(*rig) []*process        // its processes; webhooks go to the last one
	missing   func(programs string) string // a program that is missing; nil: none is needed
}

// shapes are what is compared. The first is the one with which the others are compared.
var shapes = []shape{
	{name: "by hand", parts: (*rig).reference},
	together,
	{name: "a process each", parts: (*rig).separate, missing: missingService},
	{name: "broker embedded", embedded: true, parts: (*rig).together},
}

// together is `tieback run` with a broker of its own process.
var together = shape{name: "one process, broker apart", parts: (*rig).together}

// services are the programs that an export passes through. ingest is the last, because webhooks go to it.
var services = []string{"fetcher", "export", "status-reporter", "ingest"}

// missingService returns the path of a service's program that does not exist.
func missingService(programs string) string {
	for _, name := range services {
		path := filepath.Join(programs, name)
		if _, err := os.Stat(path); err != nil {
			return path
		}
	}
	return ""
}

// rig is a pipeline with a broker, a Procore and an ERP of its own, each a process. All its files are in a new directory.
type rig struct {
	dir       string
	companies map[int64]string // with their clients
	programs  string           // the folder of the services' programs
	secrets   local.Secrets
	webhook   string // the address to which Procore delivers
	nats      string // the broker's URL; "": it is embedded
	broker    *process
	procore   *child
	parts     []*process
}

// newRig starts all processes of a shape, and waits until webhooks are accepted.
func newRig(ctx context.Context, o Options, s shape, env ...string) (*rig, error) {
	dir, err := os.MkdirTemp("", "tieback-bench-")
	if err != nil {
		return nil, err
	}
	r := &rig{companies: manyClients(max(s.companies, 1)), dir: dir, programs: o.Programs, secrets: local.NewSecrets(), webhook: freePort()}
	if err := r.start(ctx, s, env); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *rig) start(ctx context.Context, s shape, env []string) (err error) {
	if !s.embedded {
		addr := freePort()
		r.nats = "nats://" + addr
		r.broker = part("broker", r.dir, "BENCH_LISTEN="+addr, "BENCH_DATA="+filepath.Join(r.dir, "broker"))
		if err := startAt(ctx, r.broker, addr); err != nil {
			return err
		}
	}
	if r.procore, err = startSandbox(ctx, r.dir, r.secrets, "http://"+r.webhook+"/webhooks/procore/", append([]string{"BENCH_DUPLICATES=0.05", "BENCH_API_VERSION=v2.0", fmt.Sprintf("BENCH_COMPANIES=%d", len(r.companies))}, env...)...); err != nil {
		return err
	}
	r.parts = s.parts(r)
	for _, p := range r.parts {
		if err := p.start(ctx); err != nil {
			return err
		}
	}
	return r.parts[len(r.parts)-1].listening(ctx, r.webhook)
}

// export exports n commitments, rate per second (0: without a pause), and waits for their end. It gives up if the pipeline processes
// fewer than 20 events per second.
func (r *rig) export(ctx context.Context, n, rate int) (result, error) {
	limit, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(n)*time.Second/20)
	defer cancel()
	a, err := r.procore.exportType(limit, 0, "create_commitment", n, rate)
	if limit.Err() == nil || ctx.Err() != nil {
		return a, err
	}
	for _, p := range r.parts {
		err = errors.Join(err, fmt.Errorf("%s: %s", p.name, p.lastWords()))
	}
	return a, fmt.Errorf("%d events were not closed in time: %w", n, err)
}

func startAt(ctx context.Context, p *process, addr string) error {
	if err := p.start(ctx); err != nil {
		return err
	}
	return p.listening(ctx, addr)
}

// close kills all processes and removes the files.
func (r *rig) close() {
	for _, p := range r.parts {
		p.kill()
	}
	if r.procore != nil {
		r.procore.kill()
	}
	r.broker.kill()
	_ = os.RemoveAll(r.dir)
}

func (r *rig) reference() []*process {
	return []*process{part("reference", r.dir, "BENCH_LISTEN="+r.webhook, "BENCH_NATS="+r.nats, "BENCH_PROCORE="+r.procore.url,
		"BENCH_SECRET="+r.secrets.ClientSecret, "BENCH_TOKEN="+r.secrets.WebhookToken)}
}

// together is `tieback run` and the connector.
func (r *rig) together() []*process {
	run := part("", r.dir, r.settings()...)
	run.name, run.argv = "run", []string{run.argv[0], "run"}
	return append(r.connector(), run)
}

// separate is a process for each service and the connector.
func (r *rig) separate() []*process {
	parts := r.connector()
	for _, name := range services {
		parts = append(parts, &process{name: name, argv: []string{filepath.Join(r.programs, name)}, env: r.settings(), dir: r.dir})
	}
	return parts
}

// connector writes the companies file and returns the connector that it names.
func (r *rig) connector() []*process {
	addr := freePort()
	text, hashes := "companies:\n", tokenhash.Hashes{}
	for id, client := range r.companies {
		text += fmt.Sprintf("  - {id: %d, name: Bench, client_id: %s, client_secret: %s, webhook_tokens: [%s], standard_cost_code_list_id: %d, connector: {driver: remote, address: %q, tls: \"off\"}}\n",
			id, client, r.secrets.ClientSecret, r.secrets.WebhookToken, local.CostCodeList, addr)
		hashes[id] = []tokenhash.Hash{tokenhash.Of(r.secrets.WebhookToken)}
	}
	err := errors.Join(os.WriteFile(r.companiesFile(), []byte(text), 0o600), company.WriteWebhookTokenHashes(r.dir+"/webhooks.json", hashes))
	if err != nil { // then the services say which file they miss
		fmt.Fprintln(os.Stderr, "tieback bench:", err)
	}
	return []*process{part("connector", r.dir, "BENCH_LISTEN="+addr, "BENCH_PROCORE="+r.procore.url)}
}

func (r *rig) companiesFile() string { return filepath.Join(r.dir, "companies.yaml") }

// settings are the environment of Tieback's services: the defaults, except addresses and files.
func (r *rig) settings() []string {
	return []string{
		"TIEBACK_DATA=" + filepath.Join(r.dir, "data"), "TIEBACK_NATS_URL=" + r.nats, "TIEBACK_PROCORE_API_URL=" + r.procore.url, "TIEBACK_PROCORE_LOGIN_URL=" + r.procore.url,
		"TIEBACK_COMPANIES=" + r.companiesFile(), "TIEBACK_WEBHOOKS=" + r.dir + "/webhooks.json", "TIEBACK_LOG_LEVEL=error",
		"TIEBACK_INGEST_ADDR=" + r.webhook, "TIEBACK_ADMIN_ADDR=" + freePort(), "TIEBACK_CONSOLE_ADDR=" + freePort(),
	}
}

// usage is what the pipeline and its broker have used so far.
type usage struct {
	cpu, broker float64 // seconds; cpu is of all, the broker included if it is apart
	others      float64 // seconds of all other processes of the machine, except those of the benchmark
	at          time.Time
}

func (r *rig) usage() (u usage, err error) {
	own := []*process{r.procore.process}
	for _, p := range r.parts {
		c, err := p.cpu()
		if err != nil {
			return u, err
		}
		u.cpu += c
	}
	if r.broker != nil {
		if u.broker, err = r.broker.cpu(); err != nil {
			return u, err
		}
	}
	u.cpu += u.broker
	u.others, u.at = busy()-u.cpu-cpuSeconds(), time.Now()
	for _, p := range own {
		c, err := p.cpu()
		if err != nil {
			return u, err
		}
		u.others -= c
	}
	return u, nil
}

// memory returns the largest resident memory of the pipeline's processes together and of the broker's, in MiB.
func (r *rig) memory() (pipeline, broker float64) {
	for _, p := range r.parts {
		peak, _ := p.memory()
		pipeline += peak
	}
	if r.broker != nil {
		broker, _ = r.broker.memory()
	}
	return pipeline, broker
}

// parts are the programs that Options.Part names. They get their settings by environment variables that begin with BENCH_.
var parts = map[string]func(context.Context, func(string) string) error{
	"sandbox": serveSandbox,
	"broker":  serveBroker,
	"stored":  serveStored,
	"console": serveConsole,
	"viewers": serveViewers,
	"connector": func(ctx context.Context, getenv func(string) string) error {
		return serveConnector(ctx, getenv("BENCH_LISTEN"), getenv("BENCH_PROCORE"))
	},
	"reference": func(ctx context.Context, getenv func(string) string) error {
		return reference.Run(ctx, reference.Config{
			Listen: getenv("BENCH_LISTEN"), NATS: getenv("BENCH_NATS"), Procore: getenv("BENCH_PROCORE"), ERP: getenv("BENCH_PROCORE"),
			Company: measured, ClientID: clientID(0), ClientSecret: getenv("BENCH_SECRET"), WebhookToken: getenv("BENCH_TOKEN"),
		})
	},
}

// serveBroker serves JetStream with the settings of production: every write is synced.
func serveBroker(ctx context.Context, getenv func(string) string) error {
	host, port, _ := strings.Cut(getenv("BENCH_LISTEN"), ":")
	o := &server.Options{ServerName: "bench", Host: host, JetStream: true, StoreDir: getenv("BENCH_DATA"), SyncAlways: true, NoSigs: true, NoLog: true, MaxPayload: 8 << 20}
	if _, err := fmt.Sscan(port, &o.Port); err != nil {
		return err
	}
	ns, err := server.NewServer(o)
	if err != nil {
		return err
	}
	ns.Start()
	<-ctx.Done()
	ns.Shutdown()
	ns.WaitForShutdown()
	return nil
}
