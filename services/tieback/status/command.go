// Package status implements `tieback status`: it prints the reports of package operator/status.
package status

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/services/console/operator/status"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// flags are the command's flags.
type flags struct {
	watch    bool
	interval time.Duration
	company  int64
	output   command.Output
}

// Command is `tieback status`. It needs the same settings as `tieback run`.
func Command() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "status [--company N] [-w [--interval 2s]] [-o json]", Short: "Show queue and company health, and what needs attention", Args: cobra.NoArgs,
		Long: `Show queue and company health, and what needs attention. Nothing is changed, and Procore is not called.

Per stage:
  WAITING      messages not yet delivered to a process
  IN FLIGHT    messages being processed, prefetched, or waiting for another attempt
  REDELIVERED  of those, delivered more than once
  OLDEST       age of the oldest unfinished message, since its stream stored it
  IN, DONE     messages per minute, counted over the last minute
Per company:
  OPEN         unfinished messages at all stages; a + if not all were counted
  OLDEST       age of the oldest of them
  RETRYING     of those, with a failed attempt
  OK, FAILED   events closed within the last minute
  DEAD         unresolved dead letters
  QUOTA        calls left of Procore's hourly and ten-second limits, which all processes share

A report costs some dozens of requests to the broker, and reads a bounded number of messages without their bodies. It
says where it is incomplete for this reason, and lists what the broker did not answer. With -w it is repeated until
the command is stopped: the screen is redrawn; without a terminal each report is a block, and with -o json a line.

The command may run while the pipeline runs. With the embedded broker (no TIEBACK_NATS_URL) stop tieback run first;
limits are then not shared, and not shown.

Exit code 0: nothing needs attention. 1: something does (such as dead letters, a stage that is not running, a message
past its deadline, or a broker that does not answer), or the command failed. With -w, that of the last report.
2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			return f.run(cmd)
		},
	}
	cmd.Flags().BoolVarP(&f.watch, "watch", "w", false, "repeat the report until stopped")
	cmd.Flags().DurationVar(&f.interval, "interval", 2*time.Second, "with -w: time between reports")
	cmd.Flags().Int64Var(&f.company, "company", 0, "show only this company, by its id in Procore; queues show all companies")
	f.output.Flag(cmd)
	return cmd
}

func (f *flags) check(cmd *cobra.Command) error {
	if err := errors.Join(f.output.Check(), command.CheckCompany(f.company)); err != nil {
		return err
	}
	switch {
	case cmd.Flags().Changed("interval") && !f.watch:
		return errors.New("--interval is the time between the reports of -w: give -w too")
	case f.interval < 200*time.Millisecond:
		return fmt.Errorf("--interval %v: must be at least 200ms", f.interval)
	}
	return nil
}

func (f *flags) run(cmd *cobra.Command) error {
	p, err := tenant.Load("status", os.Getenv, tenant.ValidCompanies)
	if err != nil {
		return err
	}
	b, closeBus, err := open(cmd, p)
	if err != nil {
		return err
	}
	defer closeBus()
	o := status.Options{
		Companies: map[int64]string{}, Clients: map[int64]*company.Client{}, Deadlines: request.Deadlines{Interactive: p.Settings.Deadline, Sync: p.Settings.SyncDeadline},
		Embedded: p.Settings.NATSURL == "", InvalidEntries: p.Unserved,
	}
	for id, c := range p.Companies {
		o.Companies[id], o.Clients[id] = c.Name, c.Client
	}
	if q, exists := openQuota(cmd.Context(), b); exists {
		o.Quota = q
	}
	return f.report(cmd, p, status.New(b, o))
}

// connectTimeout limits how long connecting to the broker takes.
const connectTimeout = 30 * time.Second

// open connects to the broker, even if it has lost streams, or opens the embedded broker. An error is ErrFailed.
func open(cmd *cobra.Command, p *tenant.App) (*bus.Bus, func(), error) {
	if p.Settings.NATSURL == "" {
		b, err := command.Open(cmd, p)
		if err != nil {
			return nil, nil, err
		}
		return b.Bus, b.Close, nil
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), connectTimeout)
	defer cancel()
	b, err := bus.ConnectReadOnly(ctx, bus.Options{
		URL: p.Settings.NATSURL, NKeyFile: p.Settings.NATSNKeyFile, CAFile: p.Settings.NATSCAFile, Name: "tieback", Log: p.Log,
	})
	if err != nil {
		return nil, nil, command.Failed(cmd, err)
	}
	return b, b.Close, nil
}

// openQuota opens the store of Procore's rate limits. It returns false if the store does not exist: no service has called
// Procore yet.
func openQuota(ctx context.Context, b *bus.Bus) (quotaStore, bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := b.JetStream().Stream(ctx, "KV_tieback-quota"); errors.Is(err, jetstream.ErrStreamNotFound) {
		return quotaStore{}, false
	}
	q, err := b.OpenQuota(ctx, 0)
	return quotaStore{q, err}, true
}

// quotaStore is a store whose Read returns the error of opening it.
type quotaStore struct {
	*bus.Quota
	err error
}

func (s quotaStore) Read(ctx context.Context, key string) ([]byte, uint64, error) {
	if s.err != nil {
		return nil, 0, s.err
	}
	return s.Quota.Read(ctx, key)
}

// report prints one report, or repeats it until the context ends.
func (f *flags) report(cmd *cobra.Command, p *tenant.App, reader *status.Reader) error {
	ctx, w := cmd.Context(), cmd.OutOrStdout()
	var last error
	for first := true; ; first = false {
		r, err := reader.Read(ctx)
		if err != nil && f.watch {
			return last // it was stopped
		}
		if err != nil {
			return command.Failed(cmd, err)
		}
		if first && !f.known(r) {
			return p.NotServed(f.company)
		}
		if last = nil; len(r.Attention) > 0 {
			last = command.ErrFailed
		}
		if err := f.print(w, r); err != nil {
			return command.Failed(cmd, err)
		}
		if !f.watch {
			return last
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(f.interval):
		}
	}
}

// known reports whether the report has the company of --company, or may lack it because something could not be read.
func (f *flags) known(r status.Report) bool {
	return f.company == 0 || len(r.Unread) > 0 || slices.ContainsFunc(r.Companies, func(c status.Company) bool { return c.ID == f.company })
}

// print writes a report in one piece, so that a terminal does not flicker.
func (f *flags) print(w io.Writer, r status.Report) error {
	if f.company != 0 {
		r.Companies = slices.DeleteFunc(slices.Clone(r.Companies), func(c status.Company) bool { return c.ID != f.company })
	}
	var b bytes.Buffer
	var err error
	switch onScreen := f.watch && terminal.Width(w) > 0; {
	case f.output.JSON() && f.watch:
		err = terminal.JSONLine(&b, r)
	case f.output.JSON():
		err = terminal.JSON(&b, r)
	case onScreen:
		b.WriteString("\x1b[H\x1b[2J") // home, and clear
		err = printReport(terminal.Buffered(w, &b), r)
	default:
		err = printReport(terminal.Buffered(w, &b), r)
		if f.watch {
			b.WriteByte('\n')
		}
	}
	if err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}
