package doctor

import (
	"errors"
	"fmt"
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
	"github.com/tieback/tieback/services/tieback/broker"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// ErrFailed is exit code 1: a problem was found and told. Any other error of the command is a
// mistake in its usage, exit code 2, and not told yet.
var ErrFailed = errors.New("failed; the reason was told")

// Patience is how long a check may take; tests have less of it.
var Patience = 15 * time.Second

// Command is `tieback doctor`.
func Command() *cobra.Command {
	var only int64
	var admin []string
	var output string
	cmd := &cobra.Command{
		Use: "doctor [--company N] [--admin HOST:PORT]... [-o json]", Short: "Look at everything a support call would ask about, and say what to do", Args: cobra.NoArgs,
		Long: `Look at everything a support call would ask about: settings, companies file, data folder, broker with its
streams, their replicas and room, consumers and permissions, dead letters, sweeps; for each company its connector, Procore's token,
permissions and clock, the ERP connection and its metadata, hook, trigger and deliveries, and whether ingest
takes them. Each finding is ok, a warning or a problem, with what to do. Nothing is changed.

It works with whatever part is down. Run it with the settings and the user of the services, in their network. With
the embedded broker (no TIEBACK_NATS_URL) it looks into the broker only while tieback run is stopped.

--admin names the admin port of a service, to compare versions and ask whether it is ready. Without it the doctor
asks TIEBACK_ADMIN_ADDR on this machine, if somebody is there.

With -o json: {"findings": [{"check", "company", "level", "text", "do"}], "problems": 0, "warnings": 0}.

Exit code 0: no problem; there may be warnings. 1: a problem. 2: wrong usage.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case output != "table" && output != "json":
				return fmt.Errorf("-o %s: must be table or json", output)
			case only < 0:
				return errors.New("--company: must be the company's id in Procore, a positive number")
			}
			for _, a := range admin {
				if _, _, err := net.SplitHostPort(a); err != nil {
					return fmt.Errorf("--admin %s: must be HOST:PORT", a)
				}
			}
			d, done := examiner(admin)
			defer done()
			d.OnlyFor = only
			return tell(cmd, output, d.Examine(cmd.Context()))
		},
	}
	cmd.Flags().Int64Var(&only, "company", 0, "the company's id in Procore; without it all companies")
	cmd.Flags().StringArrayVar(&admin, "admin", nil, "host:port of a service's admin port; may be given again")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// examiner is a doctor with the settings of this process, whatever is wrong with them.
func examiner(admin []string) (d *Doctor, done func()) {
	s, err := settings.Load(os.Getenv)
	d = &Doctor{Settings: s, Mistakes: err, Admin: admin, AdminMaybe: local(s.AdminAddr), Version: telemetry.Version, Patience: Patience}
	routes, err := procore.LoadRoutes(s.Routes)
	d.Mistakes = errors.Join(d.Mistakes, err)
	if d.Companies, d.Entries, err = company.LoadValid(s.Companies); err != nil {
		d.Entries = append(d.Entries, err)
	}
	d.Drivers, done = connect.Drivers(s.Data)
	d.Procore = func(set company.Set) (*procore.Client, error) {
		return procore.New(procore.Config{APIURL: s.ProcoreAPIURL, LoginURL: s.ProcoreLoginURL, Routes: routes}, set, prometheus.NewRegistry())
	}
	d.Broker = func() (bus.Options, func(), string, error) { return reach(s) }
	return d, done
}

// local is an address to listen on as one to call.
func local(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || port == "0" {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// reach says how to connect to the broker. The embedded one is started where nobody has it: its streams
// are looked at and nothing is made.
func reach(s settings.Settings) (o bus.Options, done func(), why string, err error) {
	if s.NATSURL != "" {
		return bus.Options{URL: s.NATSURL, NKeyFile: s.NATSNKeyFile, CAFile: s.NATSCAFile, Name: "tieback"}, nil, "", nil
	}
	dir := filepath.Join(s.Data, "jetstream")
	if _, err := os.Stat(dir); err != nil {
		return o, nil, "the embedded broker (no TIEBACK_NATS_URL) has kept nothing in " + s.Data + " yet", nil
	}
	b, err := broker.Start(dir)
	switch {
	case errors.Is(err, broker.ErrInUse):
		return o, nil, "the embedded broker is in use, by tieback run as it seems; it is looked into only while that is stopped", nil
	case err != nil:
		return o, nil, "", fmt.Errorf("embedded broker: %w", err)
	}
	return bus.Options{InProcess: b.InProcess(), Name: "tieback"}, b.Close, "", nil
}

// doc is what -o json prints. The names of its fields are stable.
type doc struct {
	Findings []Finding `json:"findings"`
	Problems int       `json:"problems"`
	Warnings int       `json:"warnings"`
}

var colours = map[Level]string{OK: terminal.Green, Warning: terminal.Yellow, Problem: terminal.Red}

func tell(cmd *cobra.Command, output string, all []Finding) error {
	w := cmd.OutOrStdout()
	d := doc{Findings: all}
	for _, f := range all {
		switch f.Level {
		case Problem:
			d.Problems++
		case Warning:
			d.Warnings++
		}
	}
	if output == "json" {
		if err := terminal.JSON(w, d); err != nil {
			return err
		}
	} else {
		for _, f := range all {
			fmt.Fprintf(w, "%s %s\n", terminal.Paint(w, colours[f.Level], fmt.Sprintf("%-7s", f.Level)), terminal.Line(about(f)))
			if f.Do != "" && f.Level != OK {
				fmt.Fprintf(w, "        → %s\n", terminal.Line(f.Do))
			}
		}
		fmt.Fprintf(w, "\n%s\n", terminal.Paint(w, terminal.Bold, Summary(all)))
	}
	if d.Problems > 0 {
		return ErrFailed
	}
	return nil
}

func about(f Finding) string {
	if f.Company != 0 {
		return "company " + strconv.FormatInt(f.Company, 10) + ": " + f.Check + ": " + f.Text
	}
	return f.Check + ": " + f.Text
}
