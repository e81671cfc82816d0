// Package command has what the operator commands share: exit codes, the flags --company and -o, times on the command line,
// and the connection to the broker.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/app/tenant"
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

// Waiting returns a function that prints each wait for Procore.
func Waiting(cmd *cobra.Command) func(d time.Duration, why string) {
	return func(d time.Duration, why string) {
		fmt.Fprintf(cmd.ErrOrStderr(), "tieback %s: waiting %v: %s\n", name(cmd), d.Round(time.Second), terminal.Line(why))
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

// Print writes v as JSON, or calls text.
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

// Each calls do for each of the companies and prints errors. After an error of one company it continues with the next and
// returns ErrFailed at the end.
func Each(cmd *cobra.Command, companies []int64, do func(ctx context.Context, company int64) error) error {
	var failed error
	for _, id := range companies {
		err := do(cmd.Context(), id)
		if err != nil && !errors.Is(err, ErrFailed) {
			err = Failed(cmd, fmt.Errorf("company %d: %w", id, err))
		}
		if err != nil {
			failed = err
		}
	}
	return failed
}

// Companies returns the companies of p that --company selects, by id. An error is a mistake in usage.
func Companies(p *tenant.App, company int64) ([]int64, error) {
	var ids []int64
	for id := range p.Companies {
		if company == 0 || company == id {
			ids = append(ids, id)
		}
	}
	if ids == nil {
		return nil, p.NotServed(company)
	}
	slices.Sort(ids)
	return ids, nil
}
