package audit

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/procore/erplog"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
	"github.com/tieback/tieback/services/tieback/run"
)

// ErrFailed is exit code 1: what went wrong, or is not accounted for, has been told already. Any
// other error of the commands is a mistake in usage or settings, exit code 2, and not told yet.
var ErrFailed = errors.New("failed; the reason was told")

// common are the flags that both commands have.
type common struct {
	name    string
	company int64
	output  string
}

func (c *common) flags(cmd *cobra.Command) {
	cmd.Flags().Int64Var(&c.company, "company", 0, "the company's id in Procore; without it all companies")
	cmd.Flags().StringVarP(&c.output, "output", "o", "table", "table or json")
}

// failed tells an error and makes it exit code 1.
func (c *common) failed(cmd *cobra.Command, err error) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "tieback %s: %s\n", c.name, terminal.Plain(err.Error()))
	return ErrFailed
}

// open checks usage and settings, where an error is exit code 2, then connects. It gives the
// companies asked for, in order.
func (c *common) open(cmd *cobra.Command) (*run.Pipeline, []int64, error) {
	if c.output != "table" && c.output != "json" {
		return nil, nil, fmt.Errorf("-o %s: must be table or json", c.output)
	}
	p, err := tenant.Load(c.name)
	if err != nil {
		return nil, nil, err
	}
	var companies []int64
	for id := range p.Companies {
		if c.company == 0 || c.company == id {
			companies = append(companies, id)
		}
	}
	if companies == nil {
		return nil, nil, p.NotServed(c.company)
	}
	slices.Sort(companies)
	b, err := connect.Open(cmd.Context(), p)
	if err != nil {
		return nil, nil, c.failed(cmd, err)
	}
	return b, companies, nil
}

// waiting tells of each wait for Procore.
func (c *common) waiting(cmd *cobra.Command) func(time.Duration, string) {
	return func(d time.Duration, why string) {
		fmt.Fprintf(cmd.ErrOrStderr(), "tieback %s: waiting %v: %s\n", c.name, d.Round(time.Second), terminal.Line(why))
	}
}

// Command is `tieback audit`.
func Command() *cobra.Command {
	c := common{name: "audit"}
	var since, until string
	var all bool
	cmd := &cobra.Command{
		Use: "audit [--since T] [--until T] [--company N] [-o json]", Short: "Prove that every ERP request ended closed, or say which did not", Args: cobra.NoArgs,
		Long: `Read what Procore knows of the ERP requests that were clicked in a time span, and what the
pipeline's streams hold of them, and say of each how it ended. Nothing is changed.

` + words() + `
It may run beside a working pipeline, and leaves half of Procore's rate limit to it. Only with the
embedded broker (no TIEBACK_NATS_URL) tieback run must be stopped first. The span begins at
--since and ends before --until, by Procore's clock: a time as 2026-11-25T10:00:00Z, a day as
2026-11-25 (UTC), or how long ago, as 36h.

Exit code 0: all is accounted for. 1: not all, or it failed. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			now := time.Now()
			from, err := moment("--since", since, now)
			if err != nil {
				return err
			}
			to, err := moment("--until", until, now)
			if err != nil {
				return err
			}
			if !from.Before(to) {
				return fmt.Errorf("--since %s is not before --until %s", since, until)
			}
			return c.audit(cmd, Options{Since: from, Until: to}, all)
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&since, "since", "24h", "where the span begins")
	cmd.Flags().StringVar(&until, "until", "0s", "where it ends; 0s: now")
	cmd.Flags().BoolVar(&all, "all", false, "show every request, those that are closed as success too")
	return cmd
}

// moment reads a time, a day, or how long ago.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s %q: write a time as 2026-11-25T10:00:00Z, a day as 2026-11-25, or how long ago, as 36h", flag, text)
}

func (c *common) audit(cmd *cobra.Command, o Options, all bool) error {
	b, companies, err := c.open(cmd)
	if err != nil {
		return err
	}
	defer b.Close()
	o.Rules.Limits = request.Limits{Interactive: b.Settings.Deadline, Sync: b.Settings.SyncDeadline}
	result := error(nil)
	for _, id := range companies {
		session, err := b.Procore.Company(id)
		if err != nil {
			return err
		}
		reader := &erplog.Reader{Session: session, Company: id, Namespace: b.Companies[id].WebhookNamespace, Backoff: b.Backoff, Waiting: c.waiting(cmd)}
		o.Rules.Company = b.Companies[id]
		report, err := Audit(cmd.Context(), reader, b.Bus, o)
		if err != nil { // the others are audited all the same
			result = c.failed(cmd, fmt.Errorf("company %d: %w", id, err))
			continue
		}
		if err := printReport(cmd.OutOrStdout(), c.output, report, all); err != nil {
			return c.failed(cmd, err)
		}
		if !report.Accounted {
			result = ErrFailed
		}
	}
	return result
}
