package requests

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// tryCommand is `tieback requests try`.
func tryCommand() *cobra.Command {
	var company int64
	var output command.Output
	cmd := &cobra.Command{
		Use: "try REQUEST [--company N] [-o json]", Short: "Start the next attempt of a request that waits after an error", Args: cobra.ExactArgs(1),
		Long: `Start the next attempt of an ERP request now. REQUEST is its id in Procore. It helps if the request waits after an error whose
cause has ended, such as an ERP that did not answer: the worker starts the attempt within a few seconds. A request that does
not wait, that waits for a rate limit, or whose company is paused is left as it is.

Without --company the request is looked up in all companies.

` + command.Where + `

Exit code 0: the attempt starts. 1: it does not, or it failed. 2: wrong usage or settings.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || id <= 0 {
				return fmt.Errorf("%q is not the id of an ERP request in Procore, such as 1001", args[0])
			}
			if err := errors.Join(command.CheckCompany(company), output.Check()); err != nil {
				return err
			}
			return try(cmd, company, id, output)
		},
	}
	cmd.Flags().Int64Var(&company, "company", 0, "the company's id in Procore; without it the request is looked up in all")
	output.Flag(cmd)
	return cmd
}

func try(cmd *cobra.Command, company, id int64, output command.Output) error {
	c, err := command.Client(cmd, connect.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	if company == 0 {
		found, err := c.GetRequest(cmd.Context(), &operatorv1.GetRequestRequest{RequestId: id})
		if err != nil {
			return command.APIError(cmd, err)
		}
		company = found.Timeline.Request.CompanyId
	}
	result, err := c.TryNow(cmd.Context(), &operatorv1.TryNowRequest{CompanyId: company, RequestId: id})
	if err != nil {
		return command.APIError(cmd, err)
	}
	err = output.Print(cmd.OutOrStdout(), result, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, terminal.Line(result.Text))
		return err
	})
	switch {
	case err != nil:
		return command.Failed(cmd, err)
	case !result.Started:
		return command.ErrFailed
	}
	return nil
}
