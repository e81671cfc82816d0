// Package trace implements `tieback trace`.
package trace

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	connectrpc "connectrpc.com/connect"
	"github.com/spf13/cobra"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
	"github.com/tieback/tieback/services/tieback/requests"
)

// flags are the command's flags.
type flags struct {
	company int64
	payload bool
	ask     bool
	watch   bool
	output  command.Output
}

// Command is `tieback trace`.
func Command() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "trace REQUEST [--company N] [-w] [--payload] [--ask-procore] [-o json]", Short: "Show what happened to one ERP request, by its id, number or name", Args: oneArg,
		Long: `Show the timeline of one ERP request. REQUEST is its id in Procore, or the id of one of its request details, or the number or
name of a record in it: if several requests have it, they are listed. The timeline has the click, the delivery, the result and duration
of each stage, the close-outs and marks in Procore, dead letters and their resolutions, all replays, and, if the
request has not ended, its current stage: since when, how many attempts, the last failure, the next attempt, and the
deadline. The last line is the verdict.

Without --company the request is looked up in all companies. Nothing is changed. With -w the timeline is shown again after
each change, until the request has ended. Procore is called only with --ask-procore: once for the request, and several
times for the list of its request details. If Procore's rate limit is exceeded, the command waits up to a minute.

TOOK is the time since the message that a step processed, by the broker's clock. From the click it is approximate, as
Procore gives whole seconds of its own clock. Attempts are stored only until a message is processed; a dead letter
records their number.

What Procore sent, and what a person edited in it, may contain personal data. It is shown only with --payload.

` + command.Where + `

Exit code 0: it was closed, or is in progress in time. 1: it needs action (never arrived, late, dead-lettered
and not reported, closed here and open in Procore), not all could be read, or it failed. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return f.run(cmd, args[0])
		},
	}
	cmd.Flags().Int64Var(&f.company, "company", 0, "the company's id in Procore; without it the request is looked up in all")
	cmd.Flags().BoolVarP(&f.watch, "watch", "w", false, "show the timeline again after each change, until the request has ended")
	cmd.Flags().BoolVar(&f.payload, "payload", false, "show what Procore sent; it may contain personal data")
	cmd.Flags().BoolVar(&f.ask, "ask-procore", false, "read from Procore too: whether it has the request, and the status of its request details")
	f.output.Flag(cmd)
	return cmd
}

// oneArg accepts one argument.
func oneArg(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return errors.New("give the id of an ERP request in Procore, such as tieback trace 1001, or of a request detail, or the number or name of a record")
	case len(args) > 1:
		return fmt.Errorf("%d arguments were given: trace one ERP request at a time, as in tieback trace 1001; put a name with spaces in quotes", len(args))
	case strings.TrimSpace(args[0]) == "":
		return errors.New("the argument is empty: give an id, a number or a name")
	}
	return nil
}

func (f *flags) check() error {
	if f.watch && (f.payload || f.ask) {
		return errors.New("-w shows what the streams have: leave out --payload and --ask-procore")
	}
	return errors.Join(command.CheckCompany(f.company), f.output.Check())
}

func (f *flags) run(cmd *cobra.Command, text string) error {
	c, err := command.Client(cmd, connect.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	t, err := f.get(cmd, c, text)
	if err != nil {
		return err
	}
	if f.watch {
		return f.follow(cmd, c, t.Request)
	}
	return f.show(cmd, t)
}

// get returns the timeline of the request that text names: by its id, or else by what the index finds.
func (f *flags) get(cmd *cobra.Command, c *connect.Client, text string) (*operatorv1.Timeline, error) {
	r := &operatorv1.GetRequestRequest{CompanyId: f.company, IncludePayload: f.payload, AskProcore: f.ask}
	id, err := strconv.ParseInt(text, 10, 64)
	isID := err == nil && id > 0
	if isID {
		r.RequestId = id
		t, err := c.GetRequest(cmd.Context(), r)
		if connectrpc.CodeOf(err) != connectrpc.CodeNotFound {
			return t.GetTimeline(), apiError(cmd, err)
		}
		absent := err
		found, err := f.find(cmd, c, text)
		if err != nil {
			return nil, apiError(cmd, err)
		}
		if found == nil {
			return nil, command.Failed(cmd, errors.New(f.absent(absent)))
		}
		r.RequestId, r.CompanyId = found.RequestId, found.CompanyId
	} else {
		found, err := f.find(cmd, c, text)
		if err != nil {
			return nil, apiError(cmd, err)
		}
		if found == nil {
			return nil, command.Failed(cmd, fmt.Errorf("no request has %q in its names, numbers and ids", text))
		}
		r.RequestId, r.CompanyId = found.RequestId, found.CompanyId
	}
	t, err := c.GetRequest(cmd.Context(), r)
	return t.GetTimeline(), apiError(cmd, err)
}

// absent adds to the answer that a request was not found what can be done.
func (f *flags) absent(answer error) string {
	text := answer.Error()
	if refused := (*connectrpc.Error)(nil); errors.As(answer, &refused) {
		text = refused.Message()
	}
	text += "; tieback sweep fetches it now"
	if f.company == 0 {
		return text + "; with --company N --ask-procore, it is read from Procore"
	}
	return text + "; --ask-procore shows whether Procore has it"
}

func apiError(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	return command.APIError(cmd, err)
}

// find returns the request that the index finds for a text; nil: none. If it finds several, it prints them.
func (f *flags) find(cmd *cobra.Command, c *connect.Client, text string) (*operatorv1.RequestRow, error) {
	if err := c.BuildIndex(cmd.Context()); err != nil {
		return nil, err
	}
	r := &operatorv1.FindRequestsRequest{Text: text}
	if f.company != 0 {
		r.CompanyIds = []int64{f.company}
	}
	found, err := c.FindRequests(cmd.Context(), r)
	switch {
	case err != nil:
		return nil, err
	case len(found.Requests) == 0:
		return nil, nil
	case len(found.Requests) == 1:
		return found.Requests[0], nil
	}
	if err := requests.PrintRows(cmd.ErrOrStderr(), found.Requests); err != nil {
		return nil, err
	}
	return nil, connectrpc.NewError(connectrpc.CodeInvalidArgument, fmt.Errorf("%q is in several requests: give the id of one of them, and its company if several have that id", text))
}

// show prints a timeline. It returns ErrFailed if the request needs action.
func (f *flags) show(cmd *cobra.Command, t *operatorv1.Timeline) error {
	if err := f.output.Print(cmd.OutOrStdout(), t, func(w io.Writer) error { return printTrace(w, t) }); err != nil {
		return command.Failed(cmd, err)
	}
	if !t.AccountedFor {
		return command.ErrFailed
	}
	return nil
}

// follow shows the timeline of a request after each change, until it has ended or the command is stopped.
func (f *flags) follow(cmd *cobra.Command, c *connect.Client, r *operatorv1.RequestRow) error {
	timelines, err := c.WatchRequest(cmd.Context(), &operatorv1.WatchRequestRequest{RequestId: r.RequestId, CompanyId: r.CompanyId})
	if err != nil {
		return command.APIError(cmd, err)
	}
	defer timelines.Close()
	var last error
	for timelines.Receive() {
		t, w := timelines.Msg().Timeline, cmd.OutOrStdout()
		if f.output.JSON() {
			if err := terminal.JSONLine(w, t); err != nil {
				return command.Failed(cmd, err)
			}
		} else {
			if terminal.Width(w) > 0 {
				fmt.Fprint(w, "\x1b[H\x1b[2J") // home, and clear
			}
			if err := printTrace(w, t); err != nil {
				return command.Failed(cmd, err)
			}
			fmt.Fprintln(w)
		}
		if last = nil; !t.AccountedFor {
			last = command.ErrFailed
		}
	}
	if err := timelines.Err(); err != nil && cmd.Context().Err() == nil {
		return command.APIError(cmd, err)
	}
	return last
}
