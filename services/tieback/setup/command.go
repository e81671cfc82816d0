package setup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/procore/connection"
	"github.com/tieback/tieback/pkg/settings"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// ErrFailed means exit code 1; its cause has been printed. Any other error of the command is a mistake in its usage
// or settings, exit code 2, and has not been printed.
var ErrFailed = errors.New("failed; the reason was printed")

// flags are the flags of the command: the options of setup and its own.
type flags struct {
	Options
	yes, dry bool
	output   string
}

// Command returns the command `tieback setup`.
func Command() *cobra.Command {
	f := &flags{}
	cmd := &cobra.Command{
		Use: "setup --company N --url https://HOST [--client NAME] [--client-id ID --client-secret-file PATH --connector driver=…,…] ...", Args: cobra.NoArgs,
		Short: "Connect a company: companies file, ERP connection, webhook and trigger; run it again to repair them",
		Long: `Connect a company to Procore, or repair its connection.

Setup compares the current state with the required state, shows the difference as a plan, asks for
confirmation, and applies the plan:

  - the company's entry in the companies file (TIEBACK_COMPANIES), with a random webhook token in a
    separate file;
  - in Procore, the ERP connection, with metadata according to the connector's capabilities;
  - one webhook hook of our namespace to <url>/webhooks/procore/N, with that token;
  - the hook's trigger, "ERP Requests" / "create".

If nothing differs, setup changes nothing. If it is interrupted, run it again: it continues, and no event
is lost in the meantime.

The first run needs --url, --client-id, --client-secret-file and --connector. The entry keeps them, so that
later "tieback setup --company N" is enough. Give each secret in a file, never on the command line. This
includes secrets among the connector's settings: password_file=PATH or token_file=PATH.

A Developer Managed Service Account is one client for all companies that installed the app. Give --client NAME
with --client-id and --client-secret-file the first time, and --client NAME alone for each further company.
Without --client the credentials belong to this company alone. Before the first run, an administrator of the
company installs the app in Procore, gives it the permissions Company Admin, Directory Admin, ERP Integrations
Admin and Webhooks API Standard, and chooses the permitted projects.

  tieback setup --company 598134325841112 --url https://tieback.example.com --name "Acme Builders" \
    --client tieback --client-id … --client-secret-file /etc/tieback/tieback.secret \
    --connector driver=remote,address=erp.example.com:7070,token_file=/etc/tieback/acme.token

Setup changes the hook's token only after ingest, at --url, accepts the new one. If ingest can't be reached
from here, this needs --without-ingest. If Procore does not show which token a hook sends, each run sets
the hook's token to the newest one again.

All hooks of our namespace belong to Tieback. Setup deletes a second one unless deliveries wait, or may wait, in
its queue. Another installation for the same company needs its own --namespace.

Running services read a changed token or changed settings of a connector within seconds. After a new company is added,
all but a separate ingest must be restarted; the last lines of the output say so. Setup needs no broker. Run it as
the user of the services, because they read the files that it writes.

Exit codes: 0: everything is as required, or the plan was applied. 1: it failed or was declined. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fs := cmd.Flags()
	fs.Int64Var(&f.Company, "company", 0, "the company's id in Procore")
	fs.StringVar(&f.URL, "url", "", "the public base URL of ingest, https://HOST; kept in the companies file")
	fs.StringVar(&f.Name, "name", "", "the company's name, for display only")
	fs.StringVar(&f.ClientName, "client", "", "a shared client of the companies file; created if there is none of that name")
	fs.StringVar(&f.ClientID, "client-id", "", "the client id of the app in Procore, or of the company's own service account")
	fs.StringVar(&f.ClientSecretFile, "client-secret-file", "", "a file that contains the client secret")
	fs.StringVar(&f.APIURL, "api-url", "", "the API URL of the client's zone of Procore, such as https://api.procoregov.com; with --client")
	fs.StringVar(&f.LoginURL, "login-url", "", "the login URL of that zone, such as https://login.procoregov.com; with --client")
	fs.StringToStringVar(&f.Connector, "connector", nil, "driver=NAME and the settings of the driver, NAME=VALUE,…")
	fs.StringVar(&f.MetadataFile, "metadata-file", "", "a YAML or JSON file that overrides parts of the ERP metadata")
	fs.StringVar(&f.TimeZone, "time-zone", "", "the company's IANA time zone, such as America/Chicago; default: that of the projects, if all have the same")
	fs.StringVar(&f.Since, "since", "", "process only requests made in Procore since this time, such as 2026-11-30T08:00:00Z; default for a new entry: now")
	fs.Int64Var(&f.CodeList, "standard-cost-code-list", 0, "the id of the standard cost code list, if the company has an ERP connection that Procore does not show")
	fs.StringVar(&f.Namespace, "namespace", "", "the namespace of our hook in Procore (default "+connection.Namespace+"); kept in the companies file")
	fs.StringVar(&f.APIVersion, "api-version", "", "the version of deliveries (default for a new hook: "+connection.APIVersion+"; ingest reads all)")
	fs.BoolVar(&f.SendMetadata, "send-metadata", false, "send the ERP metadata even if Procore seems to have it")
	fs.BoolVar(&f.RotateToken, "rotate-token", false, "add a new webhook token; run setup again later to remove the old one")
	fs.BoolVar(&f.WithoutIngest, "without-ingest", false, "change the hook's token without checking that ingest accepts it; if ingest does not, deliveries fail")
	fs.BoolVar(&f.Remove, "remove", false, "delete the hook and its trigger")
	fs.BoolVar(&f.yes, "yes", false, "apply the plan without confirmation")
	fs.BoolVar(&f.dry, "dry-run", false, "show the plan and change nothing")
	fs.StringVarP(&f.output, "output", "o", "table", "table or json")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if strings.Contains(err.Error(), `"--connector" flag`) { // the error repeats a value that may be a secret
			return errors.New("--connector: must be driver=ledger, or driver=remote,address=HOST:PORT, or another driver with its settings: NAME=VALUE, separated by commas")
		}
		return err
	})
	return cmd
}

// failed prints an error and returns ErrFailed.
func failed(cmd *cobra.Command, err error) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "tieback setup: %s\n", terminal.Plain(err.Error()))
	return ErrFailed
}

func (f *flags) run(cmd *cobra.Command) error {
	switch {
	case f.output != "table" && f.output != "json":
		return fmt.Errorf("-o %s: must be table or json", f.output)
	case f.yes && f.dry:
		return errors.New("--yes and --dry-run exclude each other: give one of them")
	}
	deps, done, err := depsOf(cmd)
	if err != nil {
		return err
	}
	defer done()
	plan, err := Make(cmd.Context(), deps, f.Options)
	switch {
	case errors.Is(err, ErrUsage):
		return err
	case err != nil:
		return failed(cmd, err)
	}
	return f.carryOut(cmd, plan)
}

// carryOut shows the plan, asks for confirmation, and applies the plan.
func (f *flags) carryOut(cmd *cobra.Command, plan *Plan) error {
	p := &printer{out: cmd.OutOrStdout(), json: f.output == "json", plan: plan}
	changes := plan.Changes()
	if changes > 0 && !f.yes && !f.dry && !canAsk(cmd) {
		return errors.New("there are changes to confirm, but the input is not a terminal: give --yes to apply them or --dry-run to show them")
	}
	p.show()
	if f.dry || changes == 0 {
		return p.end(cmd, f.dry, nil)
	}
	if !f.yes {
		agreed, err := ask(cmd, "Do this?")
		if err != nil {
			return failed(cmd, err)
		}
		if !agreed {
			return failed(cmd, errors.New("nothing was changed"))
		}
	}
	return p.end(cmd, false, plan.Apply(cmd.Context(), p.done))
}

// depsOf reads the settings. Its errors have exit code 2.
func depsOf(cmd *cobra.Command) (d Deps, done func(), err error) {
	s, err := settings.Load(os.Getenv)
	if err != nil {
		return d, nil, err
	}
	routes, err := procore.LoadRoutes(s.Routes)
	if err != nil {
		return d, nil, err
	}
	if s.Companies == "" {
		return d, nil, errors.New("TIEBACK_COMPANIES is not set: set it to the path of the companies file; setup creates the file if there is none")
	}
	if _, err := os.Stat(filepath.Dir(s.Companies)); err != nil {
		return d, nil, fmt.Errorf("TIEBACK_COMPANIES: its directory does not exist: %w", err)
	}
	drivers, done := connect.Drivers(s.Data)
	return Deps{
		Patience:  patience,
		Companies: s.Companies,
		Webhooks:  s.Webhooks,
		Drivers:   drivers,
		Procore: func(set company.Set) (*procore.Client, error) {
			return procore.New(procore.Config{APIURL: s.ProcoreAPIURL, LoginURL: s.ProcoreLoginURL, Routes: routes}, set, prometheus.NewRegistry())
		},
		Waiting: func(d time.Duration, why string) {
			fmt.Fprintf(cmd.ErrOrStderr(), "tieback setup: waiting %v: %s\n", d.Round(time.Second), terminal.Line(why))
		},
	}, done, nil
}

// patience is how long setup waits for ingest to accept a new token; 0: see Deps.Patience.
var patience time.Duration
