package services_test

import (
	"go/build"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	// The tests read source files. Go does not see that files outside of this module changed when it looks for a
	// cached result; it does see that a package changed which these contain.
	_ "github.com/tieback/tieback/services/fetcher"
	_ "github.com/tieback/tieback/services/ingest"
	_ "github.com/tieback/tieback/services/lag-exporter"
	_ "github.com/tieback/tieback/services/provisioner"
	_ "github.com/tieback/tieback/services/status-reporter"
	_ "github.com/tieback/tieback/services/sweep"
	_ "github.com/tieback/tieback/services/worker/exports"
)

// module is the path that all our modules begin with.
const module = "github.com/tieback/tieback/"

// programs are the mains of the table below.
var programs = map[string]string{
	"ingest": "services/ingest/cmd/ingest", "fetcher": "services/fetcher/cmd/fetcher", "sweep": "services/sweep/cmd/sweep",
	"export": "services/worker/cmd/export", "sync": "services/worker/cmd/sync", "import": "services/worker/cmd/import", "unlink": "services/worker/cmd/unlink", "reset": "services/worker/cmd/reset",
	"status-reporter": "services/status-reporter/cmd/status-reporter", "lag-exporter": "services/lag-exporter/cmd/lag-exporter", "console": "services/console/cmd/console", "provisioner": "services/provisioner/cmd/provisioner",
	"ledger": "services/connectors/ledger/cmd/ledger", "sandbox": "services/sandbox/cmd/sandbox",
}

// groups are names for several programs.
var groups = map[string]string{
	"workers":  "export sync import unlink reset",
	"tenants":  "fetcher sweep status-reporter workers console", // read the companies file and call Procore
	"services": "ingest lag-exporter provisioner tenants",       // have a user at the broker
}

// allowed says which of our packages each program may contain, and why. It is a policy: a service that the internet
// reaches, or that holds secrets, contains what its work needs and no more. Add a row only with a reason that its
// service's purpose explains; move code instead where there is none. Only tieback, which runs all services in one
// process, contains all; it is not listed.
//
//	package                                     programs                    reason
const allowed = `
	pkg/fault                                   services ledger             classes of errors
	pkg/order                                   tenants ledger              compares requests by time and id
	pkg/secretfile                              services ledger             reads files with secrets: broker keys, hashes, tokens
	pkg/trouble                                 tenants lag-exporter ledger  what a company's ERP or Procore fails with
	pkg/localfile                               tenants lag-exporter ledger  locks files, and writes them durably
	proto/tieback/v1                            services ledger             the messages
	pkg/catalogue                               services sandbox            the event types
	pkg/bus                                     services                    publishes and consumes messages
	pkg/bus/scheduler                           services                    of bus: which company's message starts next
	pkg/bus/topology                            services                    of bus: streams, consumers, permissions
	pkg/settings                                services                    the environment
	pkg/telemetry                               services                    metrics, traces, admin port
	pkg/connlimit                               services                    bounds the connections of ports
	pkg/app                                     services                    the process

	pkg/tokenhash                               ingest                      hashes of webhook tokens, the only secret of ingest
	pkg/procore/delivery                        ingest                      what a webhook says; knows nothing else of Procore
	services/ingest                             ingest                      the service

	pkg/app/tenant                              tenants                     companies, Procore and ERPs of a process
	pkg/tokenhash                               tenants                     company keeps its tokens as hashes
	pkg/company                                 tenants                     the companies file
	pkg/procore                                 tenants                     calls Procore
	pkg/state                                   tenants                     links, generations, cursors; reports troubles
	pkg/connector                               tenants                     records and their keys; the workers' ERPs
	pkg/payload                                 fetcher status-reporter workers  reads payloads

	services/fetcher                            fetcher                     the service

	services/connectors                         workers                     the drivers they are built with
	pkg/connector/remote                        workers                     a driver: connectors over gRPC
	pkg/connector/conformance/rehearsal         workers                     remote asks connectors under test for faults
	services/connectors/tryton                  workers                     a driver
	services/worker                             workers                     what all categories share
	pkg/request                                 workers                     whether an event's deadline passed first
	services/worker/exports                     export                      the service
	services/worker/imports                     import                      the service
	services/worker/syncs                       sync                        the service
	services/worker/unlinks                     unlink                      the service
	services/worker/resets                      reset                       the service
	services/worker/bulk                        sync import                 lists too large for one call
	services/worker/jobdata                     sync import                 a job's codes, budget and costs as staged records
	services/worker/removal                     unlink reset                takes records out of the ERP
	pkg/procore/metadata                        sync                        what Procore's ERP tool may do

	services/status-reporter                    status-reporter             the service
	services/status-reporter/internal/closeout  status-reporter             the routes that mark and close
	pkg/request                                 status-reporter             ends events that are past their deadline

	services/sweep                              sweep                       the service
	pkg/request                                 sweep                       whether a request has ended
	pkg/procore/delivery                        sweep                       writes a delivery as ingest would have
	pkg/procore/erplog                          sweep                       Procore's log of deliveries and open request details

	services/lag-exporter                       lag-exporter                the service
	pkg/request                                 lag-exporter                counts open dead letters
	pkg/procore                                 lag-exporter                request finds the request details of payloads
	pkg/company                                 lag-exporter                request judges by a company's since
	pkg/tokenhash                               lag-exporter                company keeps its tokens as hashes

	services/provisioner                        provisioner                 the service

	services/console                            console                     the service
	services/console/access                     console                     who may see and do what
	services/console/api                        console                     the handlers of the operator API
	services/console/notify                     console                     messages to people
	services/console/index                      console                     a searchable copy of the history
	services/console/web                        console                     the pages
	services/console/operator/audit             console                     what is accounted for
	services/console/operator/dead              console                     lists, replays, discards dead letters
	services/console/operator/doctor            console                     checks the installation
	services/console/operator/links             console                     compares and rebuilds links
	services/console/operator/status            console                     what needs attention
	services/console/operator/trace             console                     the timeline of a request
	proto/tieback/operator/v1                   console                     the operator API
	proto/tieback/operator/v1/operatorv1connect  console                    its clients and handlers
	pkg/payload                                 console                     names of records, for the index and edits
	pkg/request                                 console                     the read model
	pkg/procore/connection                      console                     doctor compares webhook and ERP connection
	pkg/procore/metadata                        console                     doctor compares the ERP tool's metadata
	pkg/procore/erplog                          console                     audit and sweep read Procore's lists
	pkg/procore/delivery                        console                     a sweep writes deliveries
	services/sweep                              console                     sweeps a company now
	services/connectors                         console                     doctor asks the connectors for their capabilities
	services/connectors/tryton                  console                     a driver
	pkg/connector/remote                        console                     a driver: connectors over gRPC
	pkg/connector/conformance/rehearsal         console                     remote asks connectors under test for faults

	pkg/connector                               ledger                      it is a driver
	pkg/connector/remote                        ledger                      serves it over gRPC
	pkg/connector/conformance/rehearsal         ledger                      acts out faults for the conformance suite
	services/connectors/ledger                  ledger                      the books
	services/connectors/ledger/ledgercmd        ledger                      looks at the books by hand

	services/sandbox                            sandbox                     the simulated Procore
	pkg/procore/schema                          sandbox                     Procore's published operations
	pkg/catalogue/dictionary                    sandbox                     Procore's sample payloads
`

// rules gives, by program, the packages that it may contain.
func rules(t *testing.T) map[string][]string {
	t.Helper()
	var expand func(names string) []string
	expand = func(names string) (all []string) {
		for _, name := range strings.Fields(names) {
			if members, ok := groups[name]; ok {
				all = append(all, expand(members)...)
			} else {
				all = append(all, name)
			}
		}
		return all
	}
	may := map[string][]string{}
	for line := range strings.Lines(allowed) {
		columns := strings.FieldsFunc(strings.ReplaceAll(line, "  ", "\t"), func(r rune) bool { return r == '\t' || r == '\n' })
		if len(columns) == 0 {
			continue
		}
		if len(columns) != 3 {
			t.Fatalf("a row has a package, programs and a reason, two spaces apart: %q", line)
		}
		for _, program := range expand(columns[1]) {
			if _, ok := programs[program]; !ok {
				t.Fatalf("%q is neither a program nor a group", program)
			}
			may[program] = append(may[program], strings.TrimSpace(columns[0]))
		}
	}
	return may
}

// imports are our packages that a package of ours imports, without its tests.
func imports(t *testing.T, pkg string) (ours []string) {
	t.Helper()
	p, err := build.ImportDir(filepath.Join("..", filepath.FromSlash(pkg)), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range p.Imports {
		if rest, ok := strings.CutPrefix(path, module); ok {
			ours = append(ours, rest)
		}
	}
	return ours
}

// contained are our packages in a program, without its main, each with our packages that it imports.
func contained(t *testing.T, main string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for next := imports(t, main); len(next) > 0; next = next[1:] {
		if _, seen := all[next[0]]; !seen {
			all[next[0]] = imports(t, next[0])
			next = append(next, all[next[0]]...)
		}
	}
	return all
}

func TestProgramsContainOnlyWhatTheyNeed(t *testing.T) {
	may := rules(t)
	for program, main := range programs {
		has := contained(t, main)
		for pkg := range has {
			if !slices.Contains(may[program], pkg) {
				t.Errorf("%s contains %s, which no row of the table allows", program, pkg)
			}
		}
		for _, pkg := range may[program] {
			if _, is := has[pkg]; !is {
				t.Errorf("%s does not contain %s: remove it from the table", program, pkg)
			}
		}
	}
}

// The program that the internet reaches can read two kinds of files with secrets: its broker key and the hashes of
// webhook tokens. It has no code that knows where other secrets are.
func TestIngestReadsNoSecretButTokenHashes(t *testing.T) {
	has := contained(t, programs["ingest"])
	for pkg, imports := range has {
		if slices.Contains(imports, "pkg/secretfile") && pkg != "pkg/bus" && pkg != "pkg/tokenhash" {
			t.Errorf("in ingest %s reads files with secrets", pkg)
		}
	}
	for _, never := range []string{"pkg/company", "pkg/connector", "pkg/procore", "pkg/payload"} {
		if _, is := has[never]; is {
			t.Errorf("ingest contains %s", never)
		}
	}
}

// The runtime of a process knows no service.
func TestAppKnowsNoService(t *testing.T) {
	for _, app := range []string{"pkg/app", "pkg/app/tenant"} {
		for pkg := range contained(t, app) {
			if strings.HasPrefix(pkg, "services/") {
				t.Errorf("%s contains %s", app, pkg)
			}
		}
	}
}

// The pipeline that the benchmark compares Tieback with is written without Tieback, and only the benchmark contains it.
func TestReferenceStandsAlone(t *testing.T) {
	const reference = "services/tieback/bench/reference"
	if ours := imports(t, reference); len(ours) > 0 {
		t.Errorf("the reference imports %v", ours)
	}
	for program, main := range programs {
		if _, has := contained(t, main)[reference]; has {
			t.Errorf("%s contains the reference", program)
		}
	}
	for pkg, imports := range contained(t, "services/tieback") {
		if slices.Contains(imports, reference) && pkg != "services/tieback/bench" {
			t.Errorf("%s imports the reference", pkg)
		}
	}
}
