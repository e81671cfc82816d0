package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/proto/tieback/operator/v1/operatorv1connect"
	"github.com/tieback/tieback/services/console/operator/doctor"
	"github.com/tieback/tieback/services/provisioner"
	"github.com/tieback/tieback/services/sandbox"
	command "github.com/tieback/tieback/services/tieback/doctor"
	"github.com/tieback/tieback/services/tieback/internal/sitetest"
)

// served is a company that is set up and served, on a broker of its own.
func served(t *testing.T) (s *sitetest.Site, stop func()) {
	s = sitetest.New(t, sandbox.Config{})
	s.Broker("")
	s.Connect()
	stop = s.Start()
	s.Press()
	return s, stop
}

func TestAllIsWell(t *testing.T) {
	s, _ := served(t)
	writes, files := len(s.Sandbox.Writes()), s.Files()
	e := s.Doctor()
	for _, check := range []string{
		"settings", "companies file", "broker", "broker clock", "streams", "consumers", "dead letters", "version",
		"connector", "procore", "procore clock", "erp connection", "erp metadata", "webhook", "trigger", "deliveries", "ingest",
	} {
		e.Has(check, doctor.OK, "")
	}
	e.Has("time zone", doctor.Warning, "time_zone is not in the companies file")
	if e.Code != 0 {
		t.Errorf("something is wrong: %s", e.Text)
	}
	if len(s.Sandbox.Writes()) != writes || s.Files() != files {
		t.Error("the doctor changed something")
	}
	s.Eventually(func() bool {
		return slices.ContainsFunc(s.Doctor().Findings, func(f doctor.Finding) bool { return f.Check == "sweep" && f.Level == doctor.OK })
	})
}

// A Procore that ignores the status filter lists deliveries that went well: they are not failing.
func TestDeliveriesThatWentWellAreNotFailingWhereTheFilterIsIgnored(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{StatusFilter: sandbox.Ignored})
	s.Broker("")
	s.Connect()
	s.Start()
	s.Press()
	s.Doctor().Has("deliveries", doctor.OK, "none of webhook")
	s.Expect(0, "done: change webhook hook", "--rotate-token", "--yes")
	s.Press()
	s.Expect(0, "done: remove older webhook token", "--yes")
}

func TestEachThingThatIsWrong(t *testing.T) {
	s, _ := served(t)
	const hooks, mine = "/rest/v1.0/webhooks/hooks", `{"company_id":598134325841112,"hook":{%s}}`
	hook := func() string { return fmt.Sprintf("%s/%v", hooks, s.Hooks()[0]["id"]) }
	for name, c := range map[string]struct {
		break_      func(t *testing.T)
		check, says string
	}{
		"a wrong secret": {func(t *testing.T) {
			s.Must(s.Sandbox.RotateSecret(sitetest.ID, "another-secret-0123456789"))
			t.Cleanup(func() { s.Must(s.Sandbox.RotateSecret(sitetest.ID, sitetest.ClientSecret)) })
		}, "procore", "does not accept this client id"},
		"no permission": {func(t *testing.T) {
			s.Must(s.Sandbox.Forbid(sitetest.ID, sandbox.ERPIntegrations))
			t.Cleanup(func() { s.Must(s.Sandbox.Forbid(sitetest.ID)) })
		}, "procore", "ERP Integrations Admin"},
		"no permission for hooks": {func(t *testing.T) {
			s.Must(s.Sandbox.Forbid(sitetest.ID, sandbox.Webhooks))
			t.Cleanup(func() { s.Must(s.Sandbox.Forbid(sitetest.ID)) })
		}, "webhook", "Webhooks API Standard"},
		"Procore down": {func(t *testing.T) {
			s.Must(s.Sandbox.Fail(sandbox.FaultRule{Path: "/rest/", Kind: sandbox.FaultStatus, Status: 500, Seconds: 60}))
			t.Cleanup(s.Sandbox.Heal)
		}, "procore", "answered 500"},
		"another address": {func(t *testing.T) {
			s.Change("PATCH", hook(), fmt.Sprintf(mine, `"destination_url":"https://elsewhere/webhooks/procore/598134325841112"`))
		}, "webhook", "https://elsewhere"},
		"another path": {func(t *testing.T) {
			s.Change("PATCH", hook(), fmt.Sprintf(mine, `"destination_url":"https://elsewhere/"`))
		}, "webhook", "but ingest serves"},
		"another token": {func(t *testing.T) {
			s.Change("PATCH", hook(), fmt.Sprintf(mine, `"destination_headers":{"Authorization":"Bearer of-nobody-0123456789"}`))
		}, "webhook", "a token that is not in the companies file"},
		"no trigger": {func(t *testing.T) {
			s.Change("DELETE", fmt.Sprintf("%s/triggers/%v", hook(), s.Triggers(s.Hooks()[0]["id"])[0]["id"]), "")
		}, "trigger", "tieback setup --company 598134325841112"},
		"no hook": {func(t *testing.T) { s.Change("DELETE", hook(), "") }, "webhook", "no click arrives"},
		"a connector that is down": {func(t *testing.T) {
			was := s.Text("companies.yaml")
			s.Write("companies.yaml", strings.Replace(was, "driver: ledger", "driver: remote, tls: off, timeout: 100ms, address: "+sitetest.FreePort(t), 1))
			t.Cleanup(func() { s.Write("companies.yaml", was) })
		}, "connector", "does not answer"},
		"a companies file with a mistake": {func(t *testing.T) {
			was := s.Text("companies.yaml")
			s.Write("companies.yaml", was+"  - {id: 9, client_id: x}\n")
			t.Cleanup(func() { s.Write("companies.yaml", was) })
		}, "companies file", "client_secret: is missing"},
		"settings": {func(t *testing.T) { t.Setenv("TIEBACK_DEADLINE", "soon") }, "settings", "TIEBACK_DEADLINE"},
	} {
		t.Run(name, func(t *testing.T) {
			c.break_(t)
			e := s.Doctor()
			e.T = t
			e.OnlyProblem(c.check, c.says)
		})
		s.Setup("--yes") // mends what drifted
	}
	s.Must(s.Sandbox.Fail(sandbox.FaultRule{Path: "/erp_request_details", Kind: sandbox.FaultStatus, Status: 429, RetryAfter: 3000, Times: 100}))
	s.Doctor("--company", fmt.Sprint(sitetest.ID)).Has("procore", doctor.Problem, "429")
	s.Sandbox.Heal()
	s.Must(s.Sandbox.Fail(sandbox.FaultRule{Path: "/erp_requests/", Kind: sandbox.FaultStatus, Status: 422}))
	_, err := s.Sandbox.Press(sitetest.ID, "create_vendor", nil)
	s.Must(err)
	s.Eventually(func() bool { return s.Sandbox.Counts()["GET /rest/v1.0/companies/{company_id}/erp_requests/{id}"] > 1 })
	s.Eventually(func() bool {
		return slices.ContainsFunc(s.Doctor().Findings, func(f doctor.Finding) bool { return f.Check == "dead letters" && f.Action == "tieback dead list" })
	})
	s.Sandbox.SkewClock(time.Hour)
	s.Doctor().Has("procore clock", doctor.Warning, "1h0m0s apart")
}

func TestServicesThatAreStopped(t *testing.T) {
	s, stop := served(t)
	stop()
	e := s.Doctor("--admin", sitetest.FreePort(t))
	for _, service := range []string{"fetcher", "export", "sync", "import", "unlink", "reset", "status-reporter"} {
		if !strings.Contains(e.Text, "start the service "+service) { // a warning where its last ack was on its way
			t.Errorf("nobody says that %s is stopped: %s", service, e.Text)
		}
	}
	e.Has("consumers", doctor.Problem, "start the service sync")
	e.Has("service", doctor.Problem, "nothing answers")
	e.Has("ingest", doctor.Warning, "no answer at")
}

func TestABrokerThatIsDown(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Connect()
	t.Setenv("TIEBACK_NATS_URL", "nats://"+sitetest.FreePort(t))
	s.Doctor().OnlyProblem("broker", "connection refused")
}

// The key of another service, or of nobody, is told as what it is; that of tieback may look at all.
func TestKeysOfTheBroker(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Connect()
	if code := provisioner.Run(t.Context(), []string{"keys", s.Path("keys")}, func(string) string { return "" }, io.Discard, io.Discard); code != 0 {
		t.Fatal("no keys")
	}
	ns := s.Broker(`accounts { include "keys/users.conf" }`)
	env := map[string]string{"TIEBACK_NATS_URL": ns.ClientURL(), "TIEBACK_NATS_NKEY_FILE": s.Path("keys/provisioner.nk")}
	t.Setenv("TIEBACK_NATS_TOPOLOGY", "managed")
	t.Setenv("TIEBACK_NATS_NKEY_FILE", s.Path("keys/tieback.nk"))
	patient := command.CheckTimeout
	command.CheckTimeout = 2 * time.Second // for streams that do not come
	s.Doctor().Has("broker", doctor.Problem, "run the provisioner")
	command.CheckTimeout = patient
	if code := provisioner.Run(t.Context(), nil, func(name string) string { return env[name] }, io.Discard, io.Discard); code != 0 {
		t.Fatal("no streams")
	}
	e := s.Doctor()
	e.Has("streams", doctor.OK, "")
	e.Has("dead letters", doctor.OK, "none")
	e.OnlyProblem("consumers", "start the service export")
	command.CheckTimeout = 3 * time.Second
	defer func() { command.CheckTimeout = patient }()
	t.Setenv("TIEBACK_NATS_NKEY_FILE", s.Path("keys/ingest.nk"))
	s.Doctor().Has("broker", doctor.Problem, "Permissions Violation")
	t.Setenv("TIEBACK_NATS_NKEY_FILE", "")
	s.Doctor().Has("broker", doctor.Problem, "set TIEBACK_NATS_NKEY_FILE to the key of the user tieback")
}

// A stream that an older version left is told, not changed.
func TestAStreamThatIsNotAsItShouldBe(t *testing.T) {
	s, stop := served(t)
	stop()
	t.Setenv("TIEBACK_NATS_REPLICAS", "3")
	s.Doctor().Has("streams", doctor.Warning, "has 1 replicas, TIEBACK_NATS_REPLICAS says 3")
	nc, err := nats.Connect(os.Getenv("TIEBACK_NATS_URL"))
	s.Must(err)
	defer nc.Close()
	js, err := nc.JetStream()
	s.Must(err)
	s.Must(js.DeleteConsumer(bus.Event.Stream(), "export"))
	s.Doctor().Has("consumers", doctor.Warning, "export has never run here")
	if _, err := js.ConsumerInfo(bus.Event.Stream(), "export"); !errors.Is(err, nats.ErrConsumerNotFound) {
		t.Errorf("the doctor made a consumer: %v", err)
	}
}

// The age of the last backup is shown. A broker that is new needs none; one that is older than two days is a warning.
func TestTheAgeOfTheLastBackup(t *testing.T) {
	s, stop := served(t)
	stop()
	s.Doctor().Has("backup", doctor.OK, "none was made yet")
	c, err := bus.ConnectCopier(bus.Options{URL: os.Getenv("TIEBACK_NATS_URL"), Name: "backup", Log: zap.NewNop()})
	s.Must(err)
	defer c.Close()
	last := bus.Backup{ID: "20261130T020000Z", To: "s3://acme/tieback", Began: time.Now().Add(-5 * time.Hour), Ended: time.Now()}
	s.Must(c.RecordBackup(t.Context(), last))
	s.Doctor().Has("backup", doctor.OK, "20261130T020000Z in s3://acme/tieback, began 5h0m")
	last.Began = time.Now().Add(-51 * time.Hour)
	s.Must(c.RecordBackup(t.Context(), last))
	s.Doctor().Has("backup", doctor.Warning, "began 51h0m")
}

func TestTheEmbeddedBroker(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Connect()
	s.Doctor().Has("broker", doctor.OK, "has no data in")
	if _, err := os.Stat(s.Path("data")); err == nil {
		t.Error("a command that only asks made a data folder")
	}
	stop := s.Start()
	s.Press()
	s.Doctor().Has("broker", doctor.OK, "in use")
	stop()
	e := s.Doctor()
	e.Has("streams", doctor.OK, "")
	e.Has("consumers", doctor.Warning, "tieback run is not running")
	if e.Code != 0 {
		t.Errorf("something is wrong: %s", e.Text)
	}
}

// Everybody on a machine could read a client's secret or the broker's key, and only the entries' own files were looked at.
func TestSecretsThatEverybodyCanRead(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	s.Write("shared", sitetest.ClientSecret)
	s.Write("key", "no key")
	s.Write("companies.yaml", fmt.Sprintf(`clients: [{name: acme, client_id: c, client_secret_file: %s}]
companies: [{id: 7, client: acme, webhook_tokens: [0123456789abcdef], connector: {driver: x}}]`, s.Path("shared")))
	t.Setenv("TIEBACK_COMPANIES", s.Path("companies.yaml"))
	t.Setenv("TIEBACK_NATS_NKEY_FILE", s.Path("key"))
	for _, name := range []string{"companies.yaml", "shared", "key"} {
		s.Must(os.Chmod(s.Path(name), 0o604))
		s.Doctor().Has("companies file", doctor.Warning, "all users of this machine can read "+s.Path(name))
		s.Must(os.Chmod(s.Path(name), 0o640))
		if e := s.Doctor(); strings.Contains(e.Text, "can read "+s.Path(name)) {
			t.Errorf("%s is hidden: %s", name, e.Text)
		}
	}
}

// checked is a console whose checks have one finding.
type checked struct {
	operatorv1connect.UnimplementedCompanyServiceHandler
}

func (checked) Check(_ context.Context, r *operatorv1.CheckRequest) (*operatorv1.CheckResponse, error) {
	return &operatorv1.CheckResponse{Problems: 1, Findings: []*operatorv1.Finding{{Check: "webhook", CompanyId: r.CompanyIds[0], Level: "problem", Text: "Procore has none", Action: "run setup"}}}, nil
}

// The console at TIEBACK_URL makes the checks, where the settings of this process name no broker.
func TestTheConsoleMakesTheChecks(t *testing.T) {
	s := sitetest.New(t, sandbox.Config{})
	_, handler := operatorv1connect.NewCompanyServiceHandler(checked{})
	t.Setenv("TIEBACK_URL", s.Serve(handler))
	e := s.Doctor("--company", "7")
	e.OnlyProblem("webhook", "Procore has none → run setup")
	if len(e.Findings) != 1 || e.Findings[0].Company != 7 || e.Code != 1 {
		t.Errorf("exit code %d, %+v", e.Code, e.Findings)
	}
}
