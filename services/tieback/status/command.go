package status

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// ErrFailed is exit code 1: what went wrong, or needs a person, has been told already. Any other error
// of the command is a mistake in its usage or settings, exit code 2, and not told yet.
var ErrFailed = errors.New("failed; the reason was told")

// flags are the command's.
type flags struct {
	watch    bool
	interval time.Duration
	company  int64
	output   string
}

// Command is `tieback status`. It needs the same settings as `tieback run`.
func Command() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "status [--company N] [-w [--interval 2s]] [-o json]", Short: "Say how the queues and the companies stand, and what needs a person", Args: cobra.NoArgs,
		Long: `Say how the pipeline stands at this moment. Nothing is changed, and Procore is not asked.

By stop:
  WAITING   messages not handed out to any process yet
  OUT       handed out: being worked, held, or waiting for another attempt
  AGAIN     of those, handed out more than once
  OLDEST    age of the oldest that is not finished, since it came to the stop
  IN, DONE  messages a minute, counted over the last minute
By company:
  OPEN      its messages at all stops that are not finished, and the age of the oldest; a + where not all
            were looked at
  RETRYING  of those, tried in vain at least once
  OK, FAILED  events closed within the last minute
  DEAD      dead letters that nobody has dealt with
  QUOTA     calls left of Procore's hourly and its ten-second limit, as all processes share them

A look costs some dozens of questions, and reads a bounded number of messages without their
bodies, however many there are; where that cuts something off, it says so. What the broker does not
answer is named, and the rest is told. With -w it looks again and again until it is stopped: redrawn on a
terminal, else a block, or with -o json a line of JSON, for each look.

It may run beside a working pipeline. Only with the embedded broker (no TIEBACK_NATS_URL) tieback
run must be stopped first, and limits are not shared by anybody, so that none are shown.

Exit code 0: nothing needs a person. 1: something does, and it is said what (dead letters, work that
nobody takes, a message past its deadline, a broker that does not answer), or it failed. With -w the last look
counts. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			return f.run(cmd)
		},
	}
	cmd.Flags().BoolVarP(&f.watch, "watch", "w", false, "look again and again, until stopped")
	cmd.Flags().DurationVar(&f.interval, "interval", 2*time.Second, "with -w: from one look to the next")
	cmd.Flags().Int64Var(&f.company, "company", 0, "show only this company, by its id in Procore; queues are shown whole")
	cmd.Flags().StringVarP(&f.output, "output", "o", "table", "table or json")
	return cmd
}

func (f *flags) check(cmd *cobra.Command) error {
	switch {
	case f.output != "table" && f.output != "json":
		return fmt.Errorf("-o %s: must be table or json", f.output)
	case f.company < 0:
		return fmt.Errorf("--company %d: must be the company's id in Procore, a positive number", f.company)
	case cmd.Flags().Changed("interval") && !f.watch:
		return errors.New("--interval is how often -w looks: give -w too")
	case f.interval < 200*time.Millisecond:
		return fmt.Errorf("--interval %v: must be 200ms at least", f.interval)
	}
	return nil
}

func failed(cmd *cobra.Command, err error) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "tieback status: %s\n", terminal.Plain(err.Error()))
	return ErrFailed
}

func (f *flags) run(cmd *cobra.Command) error {
	p, err := tenant.LoadServing("status")
	if err != nil {
		return err
	}
	b, leave, err := open(cmd.Context(), p)
	if err != nil {
		return failed(cmd, err)
	}
	defer leave()
	o := Options{
		Companies: map[int64]string{}, Clients: map[int64]*company.Client{}, Limits: request.Limits{Interactive: p.Settings.Deadline, Sync: p.Settings.SyncDeadline},
	}
	for id, c := range p.Companies {
		o.Companies[id], o.Clients[id] = c.Name, c.Client
	}
	if q, known := quota(cmd.Context(), b); known {
		o.Quota = q
	}
	o.Embedded, o.Unserved = p.Settings.NATSURL == "", p.Unserved
	return f.look(cmd, p, New(b, o))
}

// reach is how long the broker has to answer at all.
const reach = 30 * time.Second

// open reaches the broker, parts of which may not answer, or opens the embedded one.
func open(ctx context.Context, p *tenant.App) (*bus.Bus, func(), error) {
	if p.Settings.NATSURL == "" {
		b, err := connect.Open(ctx, p)
		if err != nil {
			return nil, nil, err
		}
		return b.Bus, b.Close, nil
	}
	ctx, cancel := context.WithTimeout(ctx, reach)
	defer cancel()
	b, err := bus.ConnectReadOnly(ctx, bus.Options{
		URL: p.Settings.NATSURL, NKeyFile: p.Settings.NATSNKeyFile, CAFile: p.Settings.NATSCAFile, Name: "tieback", Log: p.Log,
	})
	if err != nil {
		return nil, nil, err
	}
	return b, b.Close, nil
}

// quota opens the store of Procore's limits; false: nobody shares any on this broker, as nobody has
// asked Procore yet. One that can't be opened says why when it is asked.
func quota(ctx context.Context, b *bus.Bus) (store, bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := b.JetStream().Stream(ctx, "KV_tieback-quota"); errors.Is(err, jetstream.ErrStreamNotFound) {
		return store{}, false
	}
	q, err := b.OpenQuota(ctx, 0)
	return store{q, err}, true
}

type store struct {
	*bus.Quota
	err error
}

func (s store) Read(ctx context.Context, key string) ([]byte, uint64, error) {
	if s.err != nil {
		return nil, 0, s.err
	}
	return s.Quota.Read(ctx, key)
}

// look looks once, or until it is stopped.
func (f *flags) look(cmd *cobra.Command, p *tenant.App, l *Looker) error {
	ctx, w := cmd.Context(), cmd.OutOrStdout()
	var last error
	for first := true; ; first = false {
		r, err := l.Look(ctx)
		if err != nil && f.watch {
			return last // it was stopped
		}
		if err != nil {
			return failed(cmd, err)
		}
		if first && !f.known(r) {
			return p.NotServed(f.company)
		}
		if last = nil; len(r.Needs) > 0 {
			last = ErrFailed
		}
		if err := f.show(w, r); err != nil {
			return failed(cmd, err)
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

// known says whether the companies file has the company asked for or the streams hold anything of it, as
// far as they could be asked.
func (f *flags) known(r Report) bool {
	return f.company == 0 || len(r.Unasked) > 0 || slices.ContainsFunc(r.Companies, func(c Company) bool { return c.ID == f.company })
}

// show writes a look in one piece, so that a terminal does not flicker.
func (f *flags) show(w writer, r Report) error {
	r = only(r, f.company)
	var b bytes.Buffer
	switch {
	case f.output == "json" && f.watch:
		if err := terminal.JSONLine(&b, r); err != nil {
			return err
		}
	case f.output == "json":
		if err := terminal.JSON(&b, r); err != nil {
			return err
		}
	default:
		page{out: &b, width: terminal.Width(w), paint: func(c, s string) string { return terminal.Paint(w, c, s) }}.print(r)
		switch {
		case f.watch && terminal.Width(w) > 0:
			b = *bytes.NewBufferString("\x1b[H\x1b[2J" + b.String()) // home, and clear
		case f.watch:
			b.WriteByte('\n')
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// only leaves out the other companies.
func only(r Report, company int64) Report {
	if company == 0 {
		return r
	}
	all := r.Companies
	r.Companies = []Company{}
	for _, c := range all {
		if c.ID == company {
			r.Companies = append(r.Companies, c)
		}
	}
	return r
}
