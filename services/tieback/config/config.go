// Package config implements `tieback config`: it checks a companies file without connecting to anything.
package config

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/secretfile"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// Command is `tieback config`.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Check a companies file", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return errors.New("config: name a command: check") },
	}
	cmd.AddCommand(&cobra.Command{
		Use: "check [FILE]", Short: "Check a companies file, and the secret files that it names", Args: cobra.MaximumNArgs(1),
		Long: `Check a companies file, by default the one of TIEBACK_COMPANIES, and the secret files that it names. Nothing is changed, and
nothing is connected to: run it before you deploy the file. tieback doctor checks the whole installation.

Exit code 0: it is valid. 1: it has mistakes, which are printed, or all users of this machine can read a secret. 2: wrong usage.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path := os.Getenv("TIEBACK_COMPANIES")
			if len(args) > 0 {
				path = args[0]
			}
			if path == "" {
				return errors.New("name a companies file, or set TIEBACK_COMPANIES")
			}
			return check(cmd, path)
		},
	})
	return cmd
}

func check(cmd *cobra.Command, path string) error {
	valid, mistakes, err := company.Load(path)
	if err != nil {
		mistakes = append(mistakes, err)
	}
	for _, file := range company.Files(path) {
		if secretfile.Exposed(file) {
			mistakes = append(mistakes, fmt.Errorf("%s: all users of this machine can read it: chmod o-rwx %[1]s", file))
		}
	}
	w := cmd.OutOrStdout()
	for _, m := range mistakes {
		fmt.Fprintln(w, terminal.Plain(m.Error()))
	}
	if len(mistakes) > 0 {
		return command.Failed(cmd, fmt.Errorf("%s: %s with a valid entry, %s", path, terminal.Count(len(valid), "company", "companies"), terminal.Count(len(mistakes), "mistake", "mistakes")))
	}
	_, err = fmt.Fprintf(w, "%s is valid: %s.\n", path, terminal.Count(len(valid), "company", "companies"))
	return err
}
