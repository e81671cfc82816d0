// Package command has what the operator commands share: exit codes, the flags --company and -o, times on the command line,
// and the connections to the operator API and to the broker.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	connectrpc "connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/app/tenant"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
	"github.com/tieback/tieback/services/tieback/run"
)

// ErrFailed means exit code 1; its cause has been printed. Any other error of a command is a mistake in its usage or
// settings, exit code 2, and has not been printed.
var ErrFailed = errors.New("failed; the reason was printed")

// Failed prints err and returns ErrFailed.
func Failed(cmd *cobra.Command, err error) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "tieback %s: %s\n", name(cmd), terminal.Plain(err.Error()))
	return ErrFailed
}

// name is the name of the command below the root: dead for `tieback dead list`.
func name(cmd *cobra.Command) string {
	for cmd.HasParent() && cmd.Parent().HasParent() {
		cmd = cmd.Parent()
	}
	return cmd.Name()
}

// Client returns a client of the operator API; see connect.Dial. An error is a mistake in usage or settings, or ErrFailed.
func Client(cmd *cobra.Command, o connect.Options) (*connect.Client, error) {
	o.Name = name(cmd)
	c, err := connect.Dial(cmd.Context(), o)
	var failed connect.FailedError
	if errors.As(err, &failed) {
		return nil, Failed(cmd, err)
	}
	return c, err
}

// Where is the part of a command's help that says which server answers it.
const Where = `The command asks the console at TIEBACK_URL, with the token in TIEBACK_TOKEN or in the file TIEBACK_TOKEN_FILE.
Without TIEBACK_URL it asks the tieback run of the same TIEBACK_DATA; if none runs, it uses the broker itself, with
the settings of tieback run. Times are in UTC. With -o json it prints the answer of the operator API.`

// APIError returns the command's error for an error of the operator API: a mistake in usage, or ErrFailed.
func APIError(cmd *cobra.Command, err error) error {
	var refused *connectrpc.Error
	if !errors.As(err, &refused) {
		return Failed(cmd, err)
	}
	switch text := errors.New(refused.Message()); refused.Code() {
	case connectrpc.CodeInvalidArgument:
		return text
	case connectrpc.CodeUnauthenticated:
		return fmt.Errorf("TIEBACK_TOKEN, or the file TIEBACK_TOKEN_FILE: the console at TIEBACK_URL refuses the token: %w", text)
	default:
		return Failed(cmd, text)
	}
}

// Open connects to the broker of the settings. An error is ErrFailed.
func Open(cmd *cobra.Command, p *tenant.App) (*run.Pipeline, error) {
	b, err := connect.Open(cmd.Context(), p)
	if err != nil {
		return nil, Failed(cmd, err)
	}
	return b, nil
}

// Output is the flag -o.
type Output string

// Flag adds the flag to a command.
func (o *Output) Flag(cmd *cobra.Command) {
	cmd.Flags().StringVarP((*string)(o), "output", "o", "table", "table or json")
}

// JSON reports whether the output is JSON.
func (o Output) JSON() bool { return o == "json" }

// Check returns an error for a value that the flag does not have.
func (o Output) Check() error {
	if o != "table" && o != "json" {
		return fmt.Errorf("-o %s: must be table or json", string(o))
	}
	return nil
}

// Print writes v as JSON, which for a message of the operator API is its JSON there, or calls text.
func (o Output) Print(w io.Writer, v any, text func(io.Writer) error) error {
	if o.JSON() {
		return terminal.JSON(w, v)
	}
	return text(w)
}

// CheckCompany returns an error if the value of --company can't be the id of a company. 0 means that the flag is not given.
func CheckCompany(id int64) error {
	if id < 0 {
		return fmt.Errorf("--company %d: must be the company's id in Procore, a positive number", id)
	}
	return nil
}

// Time parses the value of a flag: a time, a day in UTC, or a duration before now.
func Time(flag, value string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(value); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, value); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--%s %q: must be a time such as 2026-11-25T10:00:00Z, a day such as 2026-11-25, or a duration before now such as 36h", flag, value)
}

// Each calls do for each company and prints errors. After an error of one company it continues with the next and returns
// ErrFailed at the end. A mistake in usage is returned at once.
func Each(cmd *cobra.Command, companies []int64, do func(ctx context.Context, company int64) error) error {
	var failed error
	for _, id := range companies {
		err := do(cmd.Context(), id)
		switch {
		case err == nil:
		case errors.Is(err, ErrFailed):
			failed = err
		case connectrpc.CodeOf(err) == connectrpc.CodeInvalidArgument:
			return APIError(cmd, err)
		default:
			failed = APIError(cmd, fmt.Errorf("company %d: %w", id, err))
		}
	}
	return failed
}

// Companies returns the companies that --company selects: that one, or all that the server serves, by id. An error is one of
// APIError.
func Companies(cmd *cobra.Command, c *connect.Client, company int64) ([]int64, error) {
	if company != 0 {
		return []int64{company}, nil
	}
	all, err := c.ListCompanies(cmd.Context(), &operatorv1.ListCompaniesRequest{})
	if err != nil {
		return nil, APIError(cmd, err)
	}
	var ids []int64
	for _, c := range all.Companies {
		if c.Served {
			ids = append(ids, c.Id)
		}
	}
	return ids, nil
}
