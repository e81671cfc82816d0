// Package connector implements `tieback connector`: it tests a connector against the contract, and writes the
// skeleton of a new one.
package connector

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// ErrFailed is returned when the connector failed, or could not be asked; it has been told
// already. Any other error is one of usage.
var ErrFailed = errors.New("the connector failed")

// one wants a single argument, which says so.
func one(says string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("%d arguments were given: %s", len(args), says)
		}
		return nil
	}
}

// Command is "tieback connector". What it finds goes to the command's output.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "connector", Short: "Prove a connector, or begin a new one",
		Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return errors.New("connector: say what to do: verify or new") },
	}
	cmd.AddCommand(verifyCommand(), newCommand())
	return cmd
}
