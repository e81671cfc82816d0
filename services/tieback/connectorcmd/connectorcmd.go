// Package connectorcmd is the command "tieback connector": it proves that a connector keeps
// the contract, and writes the beginning of a new one.
package connectorcmd

import (
	"errors"

	"github.com/spf13/cobra"
)

// ErrFailed is returned when the connector failed, or could not be asked; it has been told
// already. Any other error is one of usage.
var ErrFailed = errors.New("the connector failed")

// Command is "tieback connector". What it finds goes to the command's output.
func Command() *cobra.Command {
	cmd := &cobra.Command{Use: "connector", Short: "Prove a connector, or begin a new one", Args: cobra.NoArgs}
	cmd.AddCommand(verifyCommand(), newCommand())
	return cmd
}
