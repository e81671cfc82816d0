// Package doctor implements `tieback doctor`: it prints the findings of package operator/doctor.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/settings"
	"github.com/tieback/tieback/pkg/telemetry"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/console/operator/doctor"
	"github.com/tieback/tieback/services/tieback/broker"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// CheckTimeout limits how long a check may take. Tests set a shorter one.
var CheckTimeout = 15 * time.Second

// Command is `tieback doctor`.
func Command() *cobra.Command {
	var company int64
	var admin []string
	var output command.Output
	cmd := &cobra.Command{
		Use: "doctor [--company N] [--admin HOST:PORT]... [-o json]", Short: "Check the installation, and show what to do about each problem", Args: cobra.NoArgs,
		Long: `Check settings, companies file, data folder, and the broker with its streams, replicas, limits, consumers and
permissions, dead letters and sweeps; for each company its connector, Procore's token, permissions and clock, the ERP
connection and its metadata, webhook, trigger and deliveries, and whether ingest accepts them. Each finding is ok, a
warning or a problem, with what to do. Nothing is changed.

The checks are independent: if one part is down, the others are checked. The console at TIEBACK_URL makes them, or the
tieback run of this machine. Where neither runs, this command makes them: run it with the settings and the user of
the services, in their network.

--admin has this command make the checks, and names the admin port of a service, to check its version and whether it is ready. Without it, the command
tries TIEBACK_ADMIN_ADDR on this machine.

With -o json: {"findings": [{"check", "company_id", "level", "text", "action"}], "problems": 0, "warnings": 0}.

Exit code 0: no problem; there may be warnings. 1: a problem. 2: wrong usage.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(output.Check(), command.CheckCompany(company)); err != nil {
				return err
			}
			for _, a := range admin {
				if _, _, err := net.SplitHostPort(a); err != nil {
					return fmt.Errorf("--admin %s: must be HOST:PORT", a)
				}
			}
			if len(admin) == 0 {
				if r, err := askRunning(cmd.Context(), company); r != nil || err != nil {
					if err != nil {
						return err
					}
					return printReport(cmd, output, *r)
				}
			}
			d, done := newDoctor(admin)
			defer done()
			if company != 0 {
				d.Only = []int64{company}
			}
			return printReport(cmd, output, d.Examine(cmd.Context()))
		},
	}
	cmd.Flags().Int64Var(&company, "company", 0, "the company's id in Procore; without it all companies")
	cmd.Flags().StringArrayVar(&admin, "admin", nil, "host:port of a service's admin port; may be repeated")
	output.Flag(cmd)
	return cmd
}

// askRunning has the console at TIEBACK_URL, or the process at the socket in TIEBACK_DATA, make the checks. It returns nil if there is
// neither.
func askRunning(ctx context.Context, company int64) (*doctor.Report, error) {
	c, err := connect.DialRunning(ctx, connect.Options{Name: "doctor", ReadOnly: true})
	if c == nil || err != nil {
		return nil, err
	}
	defer c.Close()
	ask := &operatorv1.CheckRequest{}
	if company != 0 {
		ask.CompanyIds = []int64{company}
	}
	answer, err := c.Check(ctx, ask)
	if err != nil {
		return nil, fmt.Errorf("the console does not make the checks: %w", err)
	}
	r := &doctor.Report{Findings: []doctor.Finding{}, Problems: int(answer.Problems), Warnings: int(answer.Warnings)}
	for _, f := range answer.Findings {
		r.Findings = append(r.Findings, doctor.Finding{Check: f.Check, Company: f.CompanyId, Level: doctor.Level(f.Level), Text: f.Text, Action: f.Action})
	}
	return r, nil
}

// newDoctor returns a doctor with the settings of this process, which may have mistakes.
func newDoctor(admin []string) (d *doctor.Doctor, done func()) {
	s, err := settings.Load(os.Getenv)
	d = &doctor.Doctor{Settings: s, Mistakes: err, Admin: admin, OptionalAdmin: callable(s.AdminAddr), Version: telemetry.Version, Timeout: CheckTimeout}
	routes, err := procore.LoadRoutes(s.Routes)
	d.Mistakes = errors.Join(d.Mistakes, err)
	if d.Companies, d.EntryMistakes, err = company.Load(s.Companies); err != nil {
		d.EntryMistakes = append(d.EntryMistakes, err)
	}
	d.Drivers, done = connect.Drivers(s.Data)
	d.Procore = func(set company.Set) (*procore.Client, error) {
		return procore.New(procore.Config{APIURL: s.ProcoreAPIURL, LoginURL: s.ProcoreLoginURL, Routes: routes}, set, prometheus.NewRegistry())
	}
	d.Broker = func() (bus.Options, func(), string, error) { return brokerOptions(s) }
	return d, done
}

// callable converts an address to listen on to one that can be called; "" if there is none.
func callable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "0" {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// brokerOptions is a doctor.Broker. It starts the embedded broker if that is not in use.
func brokerOptions(s settings.Settings) (o bus.Options, done func(), unchecked string, err error) {
	if s.NATSURL != "" {
		return bus.Options{URL: s.NATSURL, NKeyFile: s.NATSNKeyFile, CAFile: s.NATSCAFile, Name: "tieback"}, nil, "", nil
	}
	dir := filepath.Join(s.Data, "jetstream")
	if _, err := os.Stat(dir); err != nil {
		return o, nil, "not checked: the embedded broker (no TIEBACK_NATS_URL) has no data in " + s.Data + " yet", nil
	}
	b, err := broker.Start(dir)
	switch {
	case errors.Is(err, broker.ErrInUse):
		return o, nil, "not checked: the embedded broker is in use, probably by tieback run; stop that first", nil
	case err != nil:
		return o, nil, "", fmt.Errorf("embedded broker: %w", err)
	}
	return bus.Options{InProcess: b.InProcess(), Name: "tieback"}, b.Close, "", nil
}

var colours = map[doctor.Level]string{doctor.OK: terminal.Green, doctor.Warning: terminal.Yellow, doctor.Problem: terminal.Red}

func printReport(cmd *cobra.Command, output command.Output, r doctor.Report) error {
	err := output.Print(cmd.OutOrStdout(), r, func(w io.Writer) error {
		for _, f := range r.Findings {
			fmt.Fprintf(w, "%s %s\n", terminal.Paint(w, colours[f.Level], fmt.Sprintf("%-7s", f.Level)), terminal.Line(line(f)))
			if f.Action != "" && f.Level != doctor.OK {
				fmt.Fprintf(w, "        → %s\n", terminal.Line(f.Action))
			}
		}
		_, err := fmt.Fprintf(w, "\n%s\n", terminal.Paint(w, terminal.Bold, r.Summary()))
		return err
	})
	if err == nil && r.Problems > 0 {
		return command.ErrFailed
	}
	return err
}

func line(f doctor.Finding) string {
	if f.Company != 0 {
		return "company " + strconv.FormatInt(f.Company, 10) + ": " + f.Check + ": " + f.Text
	}
	return f.Check + ": " + f.Text
}
