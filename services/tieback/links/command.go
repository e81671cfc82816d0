// Package links implements `tieback links`.
package links

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/internal/connect"
)

// Command is `tieback links`.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "links", Short: "List the links between Procore's records and the ERP's, and rebuild them from Procore",
		Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return errors.New("links: name a command: list or rebuild") },
	}
	cmd.AddCommand(rebuildCommand(), listCommand())
	return cmd
}

// flags are the flags of both commands.
type flags struct {
	company int64
	output  command.Output
}

func (f *flags) add(cmd *cobra.Command) {
	cmd.Flags().Int64Var(&f.company, "company", 0, "the company's id in Procore (required)")
	f.output.Flag(cmd)
}

// open checks usage, then connects. An error is one of command.Client.
func (f *flags) open(cmd *cobra.Command) (*connect.Client, error) {
	if f.company <= 0 {
		return nil, errors.New("--company is missing: give the company's id in Procore, a positive number")
	}
	if err := f.output.Check(); err != nil {
		return nil, err
	}
	return command.Client(cmd, connect.Options{})
}

func rebuildCommand() *cobra.Command {
	var f flags
	var force, dryRun bool
	cmd := &cobra.Command{
		Use: "rebuild --company N [--force] [--dry-run] [-o json]", Short: "Read the links from Procore", Args: cobra.NoArgs,
		Long: `Read all lists of the company's records in Procore, and store a link for each record with an origin id that has none.
A stored link that differs from Procore's is listed, and changed only with --force.

A link that an ERP request changes meanwhile is newer and stays. A rebuild leaves half of Procore's rate limit to the
pipeline.

` + command.Where + `

Exit code 0: done. 1: it failed, or a list could not be read. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.rebuild(cmd, force, dryRun) },
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "also change links that differ from Procore's, and end links of records without an origin id")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing, and print what would be changed")
	return cmd
}

func (f *flags) rebuild(cmd *cobra.Command, force, dryRun bool) error {
	c, err := f.open(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	var report *operatorv1.LinkReport
	if dryRun {
		var r *operatorv1.CheckLinksResponse
		r, err = c.CheckLinks(cmd.Context(), &operatorv1.CheckLinksRequest{CompanyId: f.company, Force: force})
		report = r.GetReport()
	} else {
		var r *operatorv1.RebuildLinksResponse
		r, err = c.RebuildLinks(cmd.Context(), &operatorv1.RebuildLinksRequest{CompanyId: f.company, Force: force})
		report = r.GetReport()
	}
	if err != nil {
		return command.APIError(cmd, err)
	}
	if err := f.output.Print(cmd.OutOrStdout(), report, func(w io.Writer) error { return printReport(w, report) }); err != nil {
		return command.Failed(cmd, err)
	}
	if n := len(report.Unread); n > 0 {
		return command.Failed(cmd, fmt.Errorf("%d lists could not be read, so links may be missing", n))
	}
	return nil
}

func listCommand() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use: "list --company N [ITEM_TYPE]", Short: "List the stored links", Args: cobra.MaximumNArgs(1),
		Long: `List the stored links of a company, all or those of one item type.

` + command.Where + `

Exit code 0: done. 1: it failed. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.list(cmd, strings.Join(args, "")) },
	}
	f.add(cmd)
	return cmd
}

func (f *flags) list(cmd *cobra.Command, itemType string) error {
	c, err := f.open(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	all := &operatorv1.ListLinksResponse{}
	for r := (&operatorv1.ListLinksRequest{CompanyId: f.company, ItemType: itemType, PageSize: 10_000}); ; {
		page, err := c.ListLinks(cmd.Context(), r)
		if err != nil {
			return command.APIError(cmd, err)
		}
		all.Links = append(all.Links, page.Links...)
		if r.PageToken = page.NextPageToken; r.PageToken == "" {
			break
		}
	}
	if err := f.output.Print(cmd.OutOrStdout(), all, func(w io.Writer) error { return printLinks(w, all.Links) }); err != nil {
		return command.Failed(cmd, err)
	}
	return nil
}
