// Package requests implements `tieback requests`.
package requests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// flags are the command's flags.
type flags struct {
	company                int64
	types, states          []string
	since, until, contains string
	failed                 bool
	limit                  int32
	output                 command.Output
}

// Command is `tieback requests`.
func Command() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "requests [TEXT…] [--company N] [--failed] [--since 2h] [-o json]", Short: "List ERP requests, or find them by a name or number; those that need attention or failed come first", Args: cobra.ArbitraryArgs,
		Long: `List and search ERP requests: first those that need attention, then those that failed, those in progress, and the others,
the newest first. Nothing is changed, and Procore is not called. "tieback trace NAME" shows what happened to one of them, and
"tieback requests try" starts the next attempt of one that waits after an error.

  attention  it needs a person: a dead letter, or a deadline that has passed
  failed     closed as failed; the accountant sees why
  open       in progress
  succeeded  closed as success
  ignored    not processed: created before the company's setting "since", called off in Procore, or discarded

TEXT, or --contains, searches for words of names, numbers, ids and reasons, in any order; the beginning of a word is enough. The
search uses an index of a year of requests, which the console and tieback run keep. If neither runs, the command builds
one from the streams first.

` + command.Where + `

Exit code 0: done. 1: it failed. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, text []string) error {
			f.contains = strings.TrimSpace(f.contains + " " + strings.Join(text, " "))
			return f.run(cmd)
		},
	}
	cmd.Flags().Int64Var(&f.company, "company", 0, "only of this company, by its id in Procore")
	cmd.Flags().StringSliceVar(&f.types, "type", nil, "only of these event types")
	cmd.Flags().StringSliceVar(&f.states, "state", nil, "only in these states: attention, failed, open, succeeded, ignored")
	cmd.Flags().BoolVar(&f.failed, "failed", false, "only those that need attention or failed")
	cmd.Flags().StringVar(&f.since, "since", "", "only those that were created from this time on: a time (2026-11-25T08:00:00Z), a day, or how long ago (2h)")
	cmd.Flags().StringVar(&f.until, "until", "", "only those that were created before this time, likewise")
	cmd.Flags().StringVar(&f.contains, "contains", "", "only those with these words, as TEXT")
	cmd.Flags().Int32Var(&f.limit, "limit", 50, "the largest number of requests, at most 1000")
	f.output.Flag(cmd)
	cmd.AddCommand(tryCommand())
	return cmd
}

// request checks the flags.
func (f *flags) request(now time.Time) (*operatorv1.ListRequestsRequest, error) {
	r := &operatorv1.ListRequestsRequest{Types: f.types, States: f.states, Text: f.contains, PageSize: f.limit}
	switch {
	case f.failed && len(f.states) > 0:
		return nil, errors.New("--failed and --state: give one of them")
	case f.limit < 1 || f.limit > 1000:
		return nil, fmt.Errorf("--limit %d: must be from 1 to 1000", f.limit)
	case f.failed:
		r.States = []string{"attention", "failed"}
	}
	if f.company != 0 {
		r.CompanyIds = []int64{f.company}
	}
	for _, t := range []struct {
		flag, value string
		to          **timestamppb.Timestamp
	}{{"since", f.since, &r.Since}, {"until", f.until, &r.Until}} {
		if t.value == "" {
			continue
		}
		at, err := command.Time(t.flag, t.value, now)
		if err != nil {
			return nil, err
		}
		*t.to = timestamppb.New(at)
	}
	return r, errors.Join(command.CheckCompany(f.company), f.output.Check())
}

func (f *flags) run(cmd *cobra.Command) error {
	r, err := f.request(time.Now())
	if err != nil {
		return err
	}
	c, err := command.Client(cmd, connect.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.BuildIndex(cmd.Context()); err != nil {
		return command.Failed(cmd, err)
	}
	list, err := read(cmd.Context(), c, r)
	if err != nil {
		return command.APIError(cmd, err)
	}
	if err := f.output.Print(cmd.OutOrStdout(), list, func(w io.Writer) error { return printList(w, list) }); err != nil {
		return command.Failed(cmd, err)
	}
	return nil
}

// read returns up to r.PageSize requests. A page may have fewer, or none, and more may follow.
func read(ctx context.Context, c *connect.Client, r *operatorv1.ListRequestsRequest) (*operatorv1.ListRequestsResponse, error) {
	var list []*operatorv1.RequestRow
	for {
		page, err := c.ListRequests(ctx, r)
		if err != nil {
			return nil, err
		}
		list = append(list, page.Requests...)
		r.PageSize, r.PageToken = r.PageSize-int32(len(page.Requests)), page.NextPageToken
		if r.PageSize <= 0 || r.PageToken == "" {
			page.Requests = list
			return page, nil
		}
	}
}

func printList(w io.Writer, l *operatorv1.ListRequestsResponse) error {
	if len(l.Requests) == 0 {
		_, err := fmt.Fprint(w, "No request matches")
		if until := l.GetIndexedUntil(); until != nil {
			fmt.Fprintf(w, "; the index has all requests until %s", terminal.Moment(until.AsTime()))
		}
		fmt.Fprintln(w, ". Words match from their beginning. tieback sweep finds requests that never arrived.")
		return err
	}
	if err := PrintRows(w, l.Requests); err != nil {
		return err
	}
	if l.NextPageToken != "" {
		fmt.Fprintf(w, "\nThere are more than %d: narrow the search, or give a larger --limit.\n", len(l.Requests))
	}
	return nil
}

// PrintRows prints a table of requests.
func PrintRows(w io.Writer, requests []*operatorv1.RequestRow) error {
	var rows []terminal.Row
	for _, r := range requests {
		colour := map[string]string{"attention": terminal.Red, "failed": terminal.Yellow, "ignored": terminal.Dim}[r.State]
		rows = append(rows, terminal.Row{Colour: colour, Cells: []string{
			fmt.Sprint(r.RequestId), terminal.Or(terminal.Line(r.CompanyName), fmt.Sprint(r.CompanyId)), created(r), terminal.Line(r.Type), r.State, terminal.Dash(terminal.Line(r.Record)), terminal.Dash(terminal.Line(r.Reason)),
		}})
	}
	return terminal.Table(w, []string{"REQUEST", "COMPANY", "CREATED (UTC)", "TYPE", "STATE", "RECORD", "REASON"}, rows)
}

func created(r *operatorv1.RequestRow) string {
	if r.Created == nil {
		return "-"
	}
	return terminal.Stamp(r.Created.AsTime())
}
