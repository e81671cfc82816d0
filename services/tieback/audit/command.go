// Package audit implements `tieback audit`.
package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/internal/connect"
)

// flags are the command's flags.
type flags struct {
	company      int64
	output       command.Output
	since, until string
	all          bool
}

// Command is `tieback audit`.
func Command() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "audit [--since T] [--until T] [--company N] [-o json]", Short: "Check that every ERP request is accounted for", Args: cobra.NoArgs,
		Long: `Compare the ERP requests that Procore lists with what the pipeline's streams hold, and report how each request
ended. Nothing is changed. The classes are:

` + classes() + `
An audit leaves half of Procore's rate limit to the pipeline. The span begins at --since and ends before --until, by Procore's clock:
each is a time such as 2026-11-25T10:00:00Z, a day such as 2026-11-25 (UTC), or a duration before now such as 36h.

` + command.Where + ` With several companies, it prints a document for each.

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

// request parses the flags.
func (f *flags) request() (*operatorv1.AuditRequest, error) {
	now := time.Now()
	since, err := command.Time("since", f.since, now)
	if err != nil {
		return nil, err
	}
	until, err := command.Time("until", f.until, now)
	if err != nil {
		return nil, err
	}
	if !since.Before(until) {
		return nil, fmt.Errorf("--since %s is not before --until %s", f.since, f.until)
	}
	return &operatorv1.AuditRequest{Since: timestamppb.New(since), Until: timestamppb.New(until)}, errors.Join(command.CheckCompany(f.company), f.output.Check())
}

func (f *flags) run(cmd *cobra.Command) error {
	r, err := f.request()
	if err != nil {
		return err
	}
	c, err := command.Client(cmd, connect.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	companies, err := command.Companies(cmd, c, f.company)
	if err != nil {
		return err
	}
	return command.Each(cmd, companies, func(ctx context.Context, id int64) error {
		r.CompanyId = id
		report, err := c.Audit(ctx, r)
		if err != nil {
			return err
		}
		if err := f.print(cmd.OutOrStdout(), report); err != nil {
			return err
		}
		if !report.AccountedFor {
			return command.ErrFailed
		}
		return nil
	})
}
