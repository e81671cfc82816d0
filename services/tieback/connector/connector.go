// Package connector implements `tieback connector`: it tests a connector against the contract, and writes the
// skeleton of a new one.
package connector

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// ErrFailed means exit code 1: a test case failed, or the suite could not run; the reason has been printed. Any other error is a
// usage error, exit code 2, and has not been printed.
var ErrFailed = errors.New("the connector failed")

// one accepts exactly one argument. usage is the end of the error otherwise.
func one(usage string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("got %d arguments: %s", len(args), usage)
		}
		return nil
	}
}

// Command returns the command `tieback connector`.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "connector", Short: "Test a connector, or create a new one",
		Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			return errors.New("tieback connector needs a subcommand: verify or new")
		},
	}
	cmd.AddCommand(verifyCommand(), newCommand())
	return cmd
}
