// Package setupcmd is `tieback setup`: it connects a company, from credentials to its first event.
package setupcmd

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
	"github.com/tieback/tieback/pkg/settings"
	"github.com/tieback/tieback/services/tieback/erps"
	"github.com/tieback/tieback/services/tieback/screen"
	"github.com/tieback/tieback/services/tieback/setup"
)

// ErrFailed is exit code 1: what went wrong has been told already. Any other error of the
// command is a mistake in its usage or settings, exit code 2, and not told yet.
var ErrFailed = errors.New("failed; the reason was told")

// flags are the command's, beside those that are setup's options.
type flags struct {
	setup.Options
	yes, dry bool
	output   string
}

// Command is `tieback setup`.
func Command() *cobra.Command {
	f := &flags{}
	cmd := &cobra.Command{
		Use: "setup --company N --url https://HOST [--client NAME] [--client-id ID --client-secret-file PATH --connector driver=…,…] ...", Args: cobra.NoArgs,
		Short: "Connect a company: companies file, ERP connection, webhook and trigger; run it again to repair them",
		Long: `Connect a company to Procore, or repair what has drifted.

Setup compares what is there with what should be, shows the difference as a plan, asks, and
makes it so: the company's entry in the companies file (TIEBACK_COMPANIES) with a random webhook
token in a file of its own; in Procore the ERP connection with metadata made of what the connector
can do, one webhook hook of our namespace to <url>/webhooks/procore/N with that token, and its
trigger "ERP Requests" / "create". Where all is as it should be it changes nothing. Broken
off anywhere, it goes on when it is run again, and no event is lost meanwhile.

The first time it needs --url, --client-id, --client-secret-file and --connector; what the entry
has is kept, so that later "tieback setup --company N" is enough. A secret is given as a file, never
on the command line: of a connector's settings too, as password_file=PATH or token_file=PATH.

A Developer Managed Service Account is one client for all companies that installed the app: --client NAME makes it
the first time, with --client-id and --client-secret-file, and is enough for each further company. Without --client
the credentials are the company's own. An administrator of the company installs the app in Procore before, with
Company Admin, Directory Admin, ERP Integrations Admin and Webhooks API Standard, and chooses the permitted projects.

  tieback setup --company 598134325841112 --url https://tieback.example.com --name "Acme Builders" \
    --client tieback --client-id … --client-secret-file /etc/tieback/tieback.secret \
    --connector driver=remote,address=erp.example.com:7070,token_file=/etc/tieback/acme.token

A hook gets another token only when ingest takes it, at --url; where ingest can't be asked from here, only with
--without-ingest. Where Procore does not show what a hook sends, each run tells it the newest token again.

Hooks of our namespace are ours: a second one is removed, unless deliveries wait in it, or may. Another installation for the same company needs a
--namespace of its own.

Running services take a changed token or connector's setting up by themselves within seconds; a new company
needs a restart of theirs, and the last lines say so. It needs no broker. Give it the user of the services: they
read what it writes.

Exit code 0: all is as it should be, or as the plan said. 1: it failed, or was declined. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fs := cmd.Flags()
	fs.Int64Var(&f.Company, "company", 0, "the company's id in Procore")
	fs.StringVar(&f.URL, "url", "", "ingest's public base, https://HOST; kept in the companies file")
	fs.StringVar(&f.Name, "name", "", "the company's name, for people")
	fs.StringVar(&f.ClientName, "client", "", "a client of the companies file that companies share; made where there is none of that name")
	fs.StringVar(&f.ClientID, "client-id", "", "client id of the app in Procore, or of the company's own service account")
	fs.StringVar(&f.ClientSecretFile, "client-secret-file", "", "a file with its client secret")
	fs.StringVar(&f.APIURL, "api-url", "", "of the client's zone of Procore, such as https://api.procoregov.com; with --client")
	fs.StringVar(&f.LoginURL, "login-url", "", "likewise, such as https://login.procoregov.com")
	fs.StringToStringVar(&f.Connector, "connector", nil, "driver=NAME and the driver's settings, NAME=VALUE,…")
	fs.StringVar(&f.MetadataFile, "metadata-file", "", "YAML or JSON to lay over the ERP metadata")
	fs.StringVar(&f.TimeZone, "time-zone", "", "the company's IANA time zone, such as America/Chicago; without it that of the projects, where all have the same")
	fs.StringVar(&f.Since, "since", "", "work only what was clicked in Procore since then, such as 2026-11-30T08:00:00Z; of a new entry: now")
	fs.Int64Var(&f.CodeList, "standard-cost-code-list", 0, "the list of an ERP connection that is there and that Procore does not show")
	fs.StringVar(&f.Namespace, "namespace", "", "of our hook in Procore ("+setup.Namespace+"); kept in the companies file")
	fs.StringVar(&f.APIVersion, "api-version", "", "of deliveries ("+setup.APIVersion+" for a new hook; ingest reads all)")
	fs.BoolVar(&f.SendMetadata, "send-metadata", false, "send the ERP metadata even where Procore seems to have it")
	fs.BoolVar(&f.RotateToken, "rotate-token", false, "a new webhook token beside the old one; run setup again to drop the old")
	fs.BoolVar(&f.WithoutIngest, "without-ingest", false, "change the hook's token though ingest was not heard to take it: deliveries fail if it does not")
	fs.BoolVar(&f.Remove, "remove", false, "delete the hook and its trigger")
	fs.BoolVar(&f.yes, "yes", false, "do what the plan says without asking")
	fs.BoolVar(&f.dry, "dry-run", false, "show the plan and change nothing")
	fs.StringVarP(&f.output, "output", "o", "table", "table or json")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if strings.Contains(err.Error(), `"--connector" flag`) { // it repeats what may be a secret
			return errors.New("--connector: write driver=ledger, or driver=remote,address=HOST:PORT, or another driver with its settings: each NAME=VALUE, with commas between")
		}
		return err
	})
	return cmd
}

// failed tells an error and makes it exit code 1.
func failed(cmd *cobra.Command, err error) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "tieback setup: %s\n", screen.Plain(err.Error()))
	return ErrFailed
}

func (f *flags) run(cmd *cobra.Command) error {
	switch {
	case f.output != "table" && f.output != "json":
		return fmt.Errorf("-o %s: must be table or json", f.output)
	case f.yes && f.dry:
		return errors.New("--yes and --dry-run: one of them")
	}
	deps, done, err := depsOf(cmd)
	if err != nil {
		return err
	}
	defer done()
	plan, err := setup.Make(cmd.Context(), deps, f.Options)
	switch {
	case errors.Is(err, setup.ErrUsage):
		return err
	case err != nil:
		return failed(cmd, err)
	}
	return f.carryOut(cmd, plan)
}

// carryOut shows the plan, asks, and does it.
func (f *flags) carryOut(cmd *cobra.Command, plan *setup.Plan) error {
	p := &printer{out: cmd.OutOrStdout(), json: f.output == "json", plan: plan}
	changes := plan.Changes()
	if changes > 0 && !f.yes && !f.dry && !canAsk(cmd) {
		return errors.New("there is something to change and nobody to ask: give --yes, or --dry-run to see what")
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

// depsOf reads the settings, where an error is exit code 2.
func depsOf(cmd *cobra.Command) (d setup.Deps, done func(), err error) {
	s, err := settings.Load(os.Getenv)
	if err != nil {
		return d, nil, err
	}
	routes, err := procore.LoadRoutes(s.Routes)
	if err != nil {
		return d, nil, err
	}
	if s.Companies == "" {
		return d, nil, errors.New("TIEBACK_COMPANIES is not set: give it the path of the companies file; setup makes it where there is none")
	}
	if _, err := os.Stat(filepath.Dir(s.Companies)); err != nil {
		return d, nil, fmt.Errorf("TIEBACK_COMPANIES: its folder is not there: %w", err)
	}
	drivers, done := erps.Drivers(s.Data)
	return setup.Deps{
		Patience:  patience,
		Companies: s.Companies,
		Webhooks:  s.Webhooks,
		Drivers:   drivers,
		Procore: func(set company.Set) (*procore.Client, error) {
			return procore.New(procore.Config{APIURL: s.ProcoreAPIURL, LoginURL: s.ProcoreLoginURL, Routes: routes}, set, prometheus.NewRegistry())
		},
		Waiting: func(d time.Duration, why string) {
			fmt.Fprintf(cmd.ErrOrStderr(), "tieback setup: waiting %v: %s\n", d.Round(time.Second), screen.Line(why))
		},
	}, done, nil
}

// patience with ingest when a token is rotated; 0: setup's own.
var patience time.Duration
