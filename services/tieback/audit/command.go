// Package audit implements `tieback audit`: it prints the reports of package operator/audit.
package audit

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/procore/erplog"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/services/console/operator/audit"
	"github.com/tieback/tieback/services/tieback/command"
)

// flags are the command's flags.
type flags struct {
	company      int64
	output       command.Output
	since, until string
	all          bool
}

// Command is `tieback audit`. It needs the same settings as `tieback run`.
func Command() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "audit [--since T] [--until T] [--company N] [-o json]", Short: "Check that every ERP request is accounted for", Args: cobra.NoArgs,
		Long: `Compare the ERP requests that Procore lists with what the pipeline's streams hold, and report how each request
ended. Nothing is changed. The classes are:

` + classes() + `
The command may run while the pipeline runs, and leaves half of Procore's rate limit to it. With the embedded broker
(no TIEBACK_NATS_URL) stop tieback run first. The span begins at --since and ends before --until, by Procore's clock:
each is a time such as 2026-11-25T10:00:00Z, a day such as 2026-11-25 (UTC), or a duration before now such as 36h.

Exit code 0: all requests are accounted for. 1: not all are, or it failed. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	cmd.Flags().Int64Var(&f.company, "company", 0, "the company's id in Procore; without it all companies")
	f.output.Flag(cmd)
	cmd.Flags().StringVar(&f.since, "since", "24h", "the beginning of the span")
	cmd.Flags().StringVar(&f.until, "until", "0s", "the end of the span; 0s: now")
	cmd.Flags().BoolVar(&f.all, "all", false, "show all requests, also those that need no action")
	return cmd
}

// classes returns the table of classes for the help.
func classes() string {
	var b strings.Builder
	for _, c := range request.Classes {
		mark := " "
		if c.NeedsAction() {
			mark = "!"
		}
		fmt.Fprintf(&b, "%s %-10s %s\n", mark, c, c.Meaning())
	}
	return b.String() + "\n! is not accounted for.\n"
}

// options parses the flags.
func (f *flags) options() (o audit.Options, err error) {
	now := time.Now()
	if o.Since, err = command.Time("since", f.since, now); err != nil {
		return o, err
	}
	if o.Until, err = command.Time("until", f.until, now); err != nil {
		return o, err
	}
	if !o.Since.Before(o.Until) {
		return o, fmt.Errorf("--since %s is not before --until %s", f.since, f.until)
	}
	return o, f.output.Check()
}

func (f *flags) run(cmd *cobra.Command) error {
	o, err := f.options()
	if err != nil {
		return err
	}
	p, err := tenant.Load("audit", os.Getenv, tenant.AllCompanies)
	if err != nil {
		return err
	}
	companies, err := command.Companies(p, f.company)
	if err != nil {
		return err
	}
	b, err := command.Open(cmd, p)
	if err != nil {
		return err
	}
	defer b.Close()
	o.Rules.Deadlines = request.Deadlines{Interactive: b.Settings.Deadline, Sync: b.Settings.SyncDeadline}
	return command.Each(cmd, companies, func(ctx context.Context, id int64) error {
		session, err := b.Procore.Company(id)
		if err != nil {
			return err
		}
		reader := &erplog.Reader{Session: session, Company: id, Namespace: b.Companies[id].WebhookNamespace, Backoff: b.Backoff, Waiting: command.Waiting(cmd)}
		o.Rules.Company = b.Companies[id]
		report, err := audit.Read(ctx, reader, b.Bus, o)
		if err != nil {
			return err
		}
		if err := f.print(cmd.OutOrStdout(), report); err != nil {
			return err
		}
		if !report.Accounted {
			return command.ErrFailed
		}
		return nil
	})
}
