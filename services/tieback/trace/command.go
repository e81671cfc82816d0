package trace

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
	"github.com/tieback/tieback/services/tieback/run"
)

// ErrFailed is exit code 1: what went wrong, or needs a person, has been told already. Any other error
// of the command is a mistake in its usage or settings, exit code 2, and not told yet.
var ErrFailed = errors.New("failed; the reason was told")

// flags are the command's.
type flags struct {
	company int64
	payload bool
	ask     bool
	output  string
	request int64
}

// Command is `tieback trace`. It needs the same settings as `tieback run`.
func Command() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "trace REQUEST [--company N] [--payload] [--ask-procore] [-o json]", Short: "Tell the whole story of one ERP request", Args: one,
		Long: `Tell all that the streams hold of one ERP request, by its id in Procore: when it was clicked, how it
came, what each stop made of it and how long that took, what Procore was told of each request
detail and which records were marked, dead letters and what people did about them, all its
replays, and where it is if it is not finished: since when, how often it was tried, how the last
attempt ended, when the next begins, and when its deadline is. The last line is the verdict.

Without --company it is looked for in all companies. Nothing is changed, and Procore is asked only
with --ask-procore: a call for the request, and some for the list of its request details; of its rate limit a minute is
waited out. TOOK counts from the message that a step answers, on our clock; from the click, which Procore tells in whole
seconds of its own clock, only about, and it can be off by what the clocks differ. Attempts are remembered only until a message is finished; of what was given
up the dead letter has them.

What Procore sent, and what a person changed in it, may hold personal data: it is shown only with
--payload.

It may run beside a working pipeline. Only with the embedded broker (no TIEBACK_NATS_URL) tieback
run must be stopped first.

Exit code 0: it was closed, or is at work in time. 1: it needs a person (never arrived, late, given up
and not told, closed here and open in Procore), not all could be read, or it failed. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args[0]); err != nil {
				return err
			}
			return f.run(cmd)
		},
	}
	cmd.Flags().Int64Var(&f.company, "company", 0, "the company's id in Procore; without it the request is looked for")
	cmd.Flags().BoolVar(&f.payload, "payload", false, "show what Procore sent; it may hold personal data")
	cmd.Flags().BoolVar(&f.ask, "ask-procore", false, "ask Procore too: whether it has the request, and where its request details stand")
	cmd.Flags().StringVarP(&f.output, "output", "o", "table", "table or json")
	return cmd
}

// one wants the id of one ERP request.
func one(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return errors.New("say which ERP request, by its id in Procore: tieback trace 1001")
	case len(args) > 1:
		return fmt.Errorf("%d arguments were given: tell of one ERP request at a time, as in tieback trace 1001", len(args))
	}
	return nil
}

func (f *flags) check(request string) error {
	id, err := strconv.ParseInt(request, 10, 64)
	switch {
	case err != nil || id <= 0:
		return fmt.Errorf("%q is no ERP request's id: a positive number", request)
	case f.company < 0:
		return fmt.Errorf("--company %d: must be the company's id in Procore, a positive number", f.company)
	case f.output != "table" && f.output != "json":
		return fmt.Errorf("-o %s: must be table or json", f.output)
	}
	f.request = id
	return nil
}

func failed(cmd *cobra.Command, err error) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "tieback trace: %s\n", terminal.Plain(err.Error()))
	return ErrFailed
}

func (f *flags) run(cmd *cobra.Command) error {
	p, err := tenant.LoadServing("trace")
	if err != nil {
		return err
	}
	b, err := connect.Open(cmd.Context(), p)
	if err != nil {
		return failed(cmd, err)
	}
	defer b.Close()
	if err := f.find(cmd, b); err != nil {
		return err
	}
	o := Options{
		Company: f.company, Request: f.request, Payload: f.payload, Backoff: p.Backoff,
		Rules: request.Rules{Limits: request.Limits{Interactive: p.Settings.Deadline, Sync: p.Settings.SyncDeadline}, Company: p.Companies[f.company]},
	}
	if f.ask {
		if o.Procore, err = p.Procore.Company(f.company); err != nil {
			return p.NotServed(f.company)
		}
		o.Waiting = func(d time.Duration, why string) {
			fmt.Fprintf(cmd.ErrOrStderr(), "tieback trace: waiting %v: %s\n", d.Round(time.Second), terminal.Line(why))
		}
	}
	story, err := Read(cmd.Context(), b.Bus, o)
	if err != nil {
		return failed(cmd, err)
	}
	if _, ours := p.Companies[f.company]; !ours && len(story.Steps) == 0 && len(story.Unread) == 0 {
		return p.NotServed(f.company) // of one that was ours once the streams may still hold it
	}
	return f.tell(cmd, story)
}

func (f *flags) tell(cmd *cobra.Command, story Story) error {
	show := printStory
	if f.output == "json" {
		show = func(w writer, s Story) error { return terminal.JSON(w, s) }
	}
	if err := show(cmd.OutOrStdout(), story); err != nil {
		return failed(cmd, err)
	}
	if !story.Accounted {
		return ErrFailed
	}
	return nil
}

// find finds the request's company where none was named.
func (f *flags) find(cmd *cobra.Command, b *run.Pipeline) error {
	if f.company != 0 {
		return nil
	}
	known := slices.Sorted(maps.Keys(b.Companies))
	have, err := request.Companies(cmd.Context(), b.Bus, f.request, known)
	switch {
	case err != nil && have == nil:
		return failed(cmd, err)
	case len(have) == 1:
		f.company = have[0]
	case len(have) > 1:
		return fmt.Errorf("request %d is of companies %s: say which with --company", f.request, list(have))
	case len(known) == 1:
		f.company = known[0] // it never arrived, and there is only one that it could be of
	default:
		return failed(cmd, fmt.Errorf("request %d never arrived here, of no company, or longer ago than the streams remember: "+
			"if it was clicked lately, run tieback sweep; --company N --ask-procore asks Procore whether it was (companies: %s)", f.request, list(known)))
	}
	return nil
}

func list(ids []int64) string {
	var parts []string
	for _, id := range ids {
		parts = append(parts, strconv.FormatInt(id, 10))
	}
	return strings.Join(parts, ", ")
}
