package setupcmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/services/provisioner"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/doctor"
)

// examined is what `tieback doctor` found.
type examined struct {
	*testing.T
	code     int
	findings []doctor.Finding
	text     string
}

func (w *world) doctor(args ...string) examined {
	w.Helper()
	began := time.Now()
	e := examined{T: w.T}
	var out bytes.Buffer
	cmd := doctor.Command()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(append([]string{"-o", "json"}, args...))
	switch err := cmd.ExecuteContext(w.Context()); {
	case errors.Is(err, doctor.ErrFailed):
		e.code = 1
	case err != nil:
		w.Fatal(err)
	}
	w.told.Write(out.Bytes())
	var d struct {
		Findings           []doctor.Finding
		Problems, Warnings int
	}
	if err := json.Unmarshal(out.Bytes(), &d); err != nil {
		w.Fatalf("%v: %s", err, out.String())
	}
	if e.findings, e.text = d.Findings, out.String(); d.Problems > 0 != (e.code == 1) {
		w.Errorf("%d problems and exit code %d", d.Problems, e.code)
	}
	for _, f := range d.Findings {
		if f.Level == doctor.Problem && f.Do == "" || f.Text == "" || strings.Contains(f.Text, "\n") {
			w.Errorf("a problem without what to do, or not in one line: %+v", f)
		}
	}
	if took := time.Since(began); took > 40*time.Second {
		w.Errorf("it took %v", took)
	}
	return e
}

// has insists on a finding.
func (e examined) has(check string, level doctor.Level, says string) {
	e.Helper()
	if !slices.ContainsFunc(e.findings, func(f doctor.Finding) bool {
		return f.Check == check && f.Level == level && strings.Contains(f.Text+" → "+f.Do, says)
	}) {
		e.Errorf("no %s of %s that says %q in\n%s", level, check, says, e.text)
	}
}

// onlyProblem insists that nothing else is wrong.
func (e examined) onlyProblem(check, says string) {
	e.Helper()
	e.has(check, doctor.Problem, says)
	for _, f := range e.findings {
		if f.Level == doctor.Problem && f.Check != check {
			e.Errorf("also a problem: %+v", f)
		}
	}
}

// broker is a NATS server with a port, with the configuration's lines beside.
func (w *world) broker(config string) *server.Server {
	w.Helper()
	w.write("nats.conf", fmt.Sprintf("listen: \"127.0.0.1:-1\"\nmax_payload: 8MB\njetstream { store_dir: %q }\n%s\n", w.path("nats"), config))
	o, err := server.ProcessConfigFile(w.path("nats.conf"))
	w.must(err)
	ns := bustest.Start(w.T, *o)
	w.Setenv("TIEBACK_NATS_URL", ns.ClientURL())
	return ns
}

// served is a company that is set up and served, on a broker of its own.
func served(t *testing.T) (w *world, stop func()) {
	w = newWorld(t, sandbox.Config{})
	w.broker("")
	w.connect()
	stop = w.run()
	w.press()
	return w, stop
}

func TestAllIsWell(t *testing.T) {
	w, _ := served(t)
	writes, files := len(w.sandbox.Writes()), w.files()
	e := w.doctor()
	for _, check := range []string{
		"settings", "companies file", "broker", "broker clock", "streams", "consumers", "dead letters", "version",
		"connector", "procore", "procore clock", "erp connection", "erp metadata", "hook", "trigger", "deliveries", "ingest",
	} {
		e.has(check, doctor.OK, "")
	}
	e.has("time zone", doctor.Warning, "time_zone is not in the companies file")
	if doctor.Worst(e.findings) == doctor.Problem || e.code != 0 {
		t.Errorf("something is wrong: %s", e.text)
	}
	if len(w.sandbox.Writes()) != writes || w.files() != files {
		t.Error("the doctor changed something")
	}
	w.eventually(func() bool {
		return slices.ContainsFunc(w.doctor().findings, func(f doctor.Finding) bool { return f.Check == "sweep" && f.Level == doctor.OK })
	})
}

// A Procore that ignores the status filter lists deliveries that went well: they are not failing.
func TestDeliveriesThatWentWellAreNotFailingWhereTheFilterIsIgnored(t *testing.T) {
	w := newWorld(t, sandbox.Config{StatusFilter: sandbox.Ignored})
	w.broker("")
	w.connect()
	w.run()
	w.press()
	w.doctor().has("deliveries", doctor.OK, "none of hook")
	w.does(0, "done: change webhook hook", "--rotate-token", "--yes")
	w.press()
	w.does(0, "done: remove older webhook token", "--yes")
}

// files names all files beside the broker's own.
func (w *world) files() string {
	w.Helper()
	var names []string
	w.must(filepath.WalkDir(w.dir, func(path string, _ os.DirEntry, err error) error {
		if path == w.path("nats") {
			return filepath.SkipDir
		}
		names = append(names, path)
		return err
	}))
	return strings.Join(names, "\n")
}

func TestEachThingThatIsWrong(t *testing.T) {
	w, _ := served(t)
	const hooks, mine = "/rest/v1.0/webhooks/hooks", `{"company_id":598134325841112,"hook":{%s}}`
	hook := func() string { return fmt.Sprintf("%s/%v", hooks, w.hooks()[0]["id"]) }
	for name, c := range map[string]struct {
		break_      func(t *testing.T)
		check, says string
	}{
		"a wrong secret": {func(t *testing.T) {
			w.must(w.sandbox.RotateSecret(id, "another-secret-0123456789"))
			t.Cleanup(func() { w.must(w.sandbox.RotateSecret(id, clientSecret)) })
		}, "procore", "does not accept this client id"},
		"no permission": {func(t *testing.T) {
			w.must(w.sandbox.Forbid(id, sandbox.ERPIntegrations))
			t.Cleanup(func() { w.must(w.sandbox.Forbid(id)) })
		}, "procore", "ERP Integrations Admin"},
		"no permission for hooks": {func(t *testing.T) {
			w.must(w.sandbox.Forbid(id, sandbox.Webhooks))
			t.Cleanup(func() { w.must(w.sandbox.Forbid(id)) })
		}, "hook", "Webhooks API Standard"},
		"Procore down": {func(t *testing.T) {
			w.must(w.sandbox.Fail(sandbox.FaultRule{Path: "/rest/", Kind: sandbox.FaultStatus, Status: 500, Seconds: 60}))
			t.Cleanup(w.sandbox.Heal)
		}, "procore", "answered 500"},
		"another address": {func(t *testing.T) {
			w.changes("PATCH", hook(), fmt.Sprintf(mine, `"destination_url":"https://elsewhere/webhooks/procore/598134325841112"`))
		}, "hook", "https://elsewhere"},
		"another path": {func(t *testing.T) {
			w.changes("PATCH", hook(), fmt.Sprintf(mine, `"destination_url":"https://elsewhere/"`))
		}, "hook", "where ingest does not listen"},
		"another token": {func(t *testing.T) {
			w.changes("PATCH", hook(), fmt.Sprintf(mine, `"destination_headers":{"Authorization":"Bearer of-nobody-0123456789"}`))
		}, "hook", "no webhook token that is in the companies file"},
		"no trigger": {func(t *testing.T) {
			w.changes("DELETE", fmt.Sprintf("%s/triggers/%v", hook(), w.triggers(w.hooks()[0]["id"])[0]["id"]), "")
		}, "trigger", "tieback setup --company 598134325841112"},
		"no hook": {func(t *testing.T) { w.changes("DELETE", hook(), "") }, "hook", "no click reaches us"},
		"a connector that is down": {func(t *testing.T) {
			was := w.text("companies.yaml")
			w.write("companies.yaml", strings.Replace(was, "driver: ledger", "driver: remote, tls: off, timeout: 100ms, address: "+freePort(t), 1))
			t.Cleanup(func() { w.write("companies.yaml", was) })
		}, "connector", "does not answer"},
		"a companies file with a mistake": {func(t *testing.T) {
			was := w.text("companies.yaml")
			w.write("companies.yaml", was+"  - {id: 9, client_id: x}\n")
			t.Cleanup(func() { w.write("companies.yaml", was) })
		}, "companies file", "client_secret: is missing"},
		"settings": {func(t *testing.T) { t.Setenv("TIEBACK_DEADLINE", "soon") }, "settings", "TIEBACK_DEADLINE"},
	} {
		t.Run(name, func(t *testing.T) {
			c.break_(t)
			e := w.doctor()
			e.T = t
			e.onlyProblem(c.check, c.says)
		})
		w.tieback("--yes") // mends what drifted
	}
	w.must(w.sandbox.Fail(sandbox.FaultRule{Path: "/erp_request_details", Kind: sandbox.FaultStatus, Status: 429, RetryAfter: 3000, Times: 100}))
	w.doctor("--company", fmt.Sprint(id)).has("procore", doctor.Problem, "429")
	w.sandbox.Heal()
	w.must(w.sandbox.Fail(sandbox.FaultRule{Path: "/erp_requests/", Kind: sandbox.FaultStatus, Status: 422}))
	_, err := w.sandbox.Press(id, "create_vendor", nil)
	w.must(err)
	w.eventually(func() bool { return w.sandbox.Counts()["GET /rest/v1.0/companies/{company_id}/erp_requests/{id}"] > 1 })
	w.eventually(func() bool {
		return slices.ContainsFunc(w.doctor().findings, func(f doctor.Finding) bool { return f.Check == "dead letters" && f.Do == "tieback dead list" })
	})
	w.sandbox.SkewClock(time.Hour)
	w.doctor().has("procore clock", doctor.Warning, "1h0m0s apart")
}

func TestServicesThatAreStopped(t *testing.T) {
	w, stop := served(t)
	stop()
	e := w.doctor("--admin", freePort(t))
	for _, service := range []string{"fetcher", "export", "sync", "import", "unlink", "reset", "status-reporter"} {
		if !strings.Contains(e.text, "start the service "+service) { // a warning where its last ack was on its way
			t.Errorf("nobody says that %s is stopped: %s", service, e.text)
		}
	}
	e.has("consumers", doctor.Problem, "start the service sync")
	e.has("service", doctor.Problem, "nothing answers")
	e.has("ingest", doctor.Warning, "could not be asked")
}

func TestABrokerThatIsDown(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.connect()
	t.Setenv("TIEBACK_NATS_URL", "nats://"+freePort(t))
	w.doctor().onlyProblem("broker", "connection refused")
}

// The key of another service, or of nobody, is told as what it is; that of tieback may look at all.
func TestKeysOfTheBroker(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.connect()
	if code := provisioner.Run(t.Context(), []string{"keys", w.path("keys")}, func(string) string { return "" }, io.Discard, io.Discard); code != 0 {
		t.Fatal("no keys")
	}
	ns := w.broker(`accounts { include "keys/users.conf" }`)
	env := map[string]string{"TIEBACK_NATS_URL": ns.ClientURL(), "TIEBACK_NATS_NKEY_FILE": w.path("keys/provisioner.nk")}
	t.Setenv("TIEBACK_NATS_TOPOLOGY", "managed")
	t.Setenv("TIEBACK_NATS_NKEY_FILE", w.path("keys/tieback.nk"))
	patient := doctor.Patience
	doctor.Patience = 2 * time.Second // for streams that do not come
	w.doctor().has("broker", doctor.Problem, "run the provisioner")
	doctor.Patience = patient
	if code := provisioner.Run(t.Context(), nil, func(name string) string { return env[name] }, io.Discard, io.Discard); code != 0 {
		t.Fatal("no streams")
	}
	e := w.doctor()
	e.has("streams", doctor.OK, "")
	e.has("dead letters", doctor.OK, "none")
	e.onlyProblem("consumers", "start the service export")
	doctor.Patience = 3 * time.Second
	defer func() { doctor.Patience = patient }()
	t.Setenv("TIEBACK_NATS_NKEY_FILE", w.path("keys/ingest.nk"))
	w.doctor().has("broker", doctor.Problem, "Permissions Violation")
	t.Setenv("TIEBACK_NATS_NKEY_FILE", "")
	w.doctor().has("broker", doctor.Problem, "give TIEBACK_NATS_NKEY_FILE the key of the user tieback")
}

// A stream that an older version left is told, not changed.
func TestAStreamThatIsNotAsItShouldBe(t *testing.T) {
	w, stop := served(t)
	stop()
	t.Setenv("TIEBACK_NATS_REPLICAS", "3")
	w.doctor().has("streams", doctor.Warning, "has 1 replicas, TIEBACK_NATS_REPLICAS says 3")
	nc, err := nats.Connect(os.Getenv("TIEBACK_NATS_URL"))
	w.must(err)
	defer nc.Close()
	js, err := nc.JetStream()
	w.must(err)
	w.must(js.DeleteConsumer(bus.Event.Stream(), "export"))
	w.doctor().has("consumers", doctor.Warning, "export has never run here")
	if _, err := js.ConsumerInfo(bus.Event.Stream(), "export"); !errors.Is(err, nats.ErrConsumerNotFound) {
		t.Errorf("the doctor made a consumer: %v", err)
	}
}

func TestTheEmbeddedBroker(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.connect()
	w.doctor().has("broker", doctor.OK, "has kept nothing")
	if _, err := os.Stat(w.path("data")); err == nil {
		t.Error("a command that only asks made a data folder")
	}
	stop := w.run()
	w.press()
	w.doctor().has("broker", doctor.OK, "in use")
	stop()
	e := w.doctor()
	e.has("streams", doctor.OK, "")
	e.has("consumers", doctor.Warning, "tieback run is not running")
	if e.code != 0 {
		t.Errorf("something is wrong: %s", e.text)
	}
}

// Everybody on a machine could read a client's secret or the broker's key, and only the entries' own files were looked at.
func TestSecretsThatEverybodyCanRead(t *testing.T) {
	w := newWorld(t, sandbox.Config{})
	w.write("shared", clientSecret)
	w.write("key", "no key")
	w.write("companies.yaml", fmt.Sprintf(`clients: [{name: acme, client_id: c, client_secret_file: %s}]
companies: [{id: 7, client: acme, webhook_tokens: [0123456789abcdef], connector: {driver: x}}]`, w.path("shared")))
	t.Setenv("TIEBACK_COMPANIES", w.path("companies.yaml"))
	t.Setenv("TIEBACK_NATS_NKEY_FILE", w.path("key"))
	for _, name := range []string{"companies.yaml", "shared", "key"} {
		w.must(os.Chmod(w.path(name), 0o604))
		w.doctor().has("companies file", doctor.Warning, "everybody on this machine can read "+w.path(name))
		w.must(os.Chmod(w.path(name), 0o640))
		if e := w.doctor(); strings.Contains(e.text, "can read "+w.path(name)) {
			t.Errorf("%s is hidden: %s", name, e.text)
		}
	}
}
