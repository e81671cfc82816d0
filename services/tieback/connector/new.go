package connector

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
)

// files are the templates of a new connector. Their names end in .tmpl, so that tools do not read them as a part of this module.
//
//go:embed template/*.tmpl
var files embed.FS

// skeleton is the data of the templates.
type skeleton struct {
	Module  string
	Tieback string // path of the checkout; "": Version is required
	Version string // X.Y.Z
	Inside  bool   // the connector's directory is in the checkout
}

func newCommand() *cobra.Command {
	var s skeleton
	cmd := &cobra.Command{
		Use:   "new DIR",
		Short: "Create a connector in Go that passes the conformance suite",
		Long: `Create a small connector, a Go module, in DIR. It stores vendors and jobs in a file, serves them over gRPC,
and has a test that runs the conformance suite, including kill -9. Replace the file with your ERP step by
step; the suite reports each rule that the connector breaks. The command needs Go, which adds the modules that the
connector requires.

Exit code 0: created. 2: wrong usage, or a file can't be written.`,
		Args: one("give the new directory, as in tieback connector new ../my-erp"),
		RunE: func(cmd *cobra.Command, args []string) error {
			wrote, err := s.write(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), s.nextSteps(args[0], wrote))
			return err
		},
	}
	cmd.Flags().StringVar(&s.Module, "module", "", "the path of the Go module; default: the name of DIR")
	cmd.Flags().StringVar(&s.Tieback, "tieback", "", "a checkout of Tieback to build against; default: the one that contains the working directory, or else the release of this program")
	return cmd
}

// write writes the files to dir, which must be empty or not exist, and returns their names.
func (s *skeleton) write(ctx context.Context, dir string) ([]string, error) {
	if err := checkEmpty(dir); err != nil {
		return nil, err
	}
	if err := s.resolve(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	wrote, err := s.execute(dir)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "go.mod"), []byte(s.goMod()), 0o644)
	}
	if err == nil {
		err = tidy(ctx, dir)
	}
	return append([]string{"go.mod"}, wrote...), err
}

func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty (it contains %s); give a new or an empty directory", dir, entries[0].Name())
	}
	return nil
}

// execute executes the templates and returns the names of the files.
func (s *skeleton) execute(dir string) ([]string, error) {
	all, err := template.ParseFS(files, "template/*.tmpl")
	if err != nil {
		return nil, err
	}
	var wrote []string
	for _, t := range all.Templates() {
		name := strings.TrimSuffix(t.Name(), ".tmpl")
		var text strings.Builder
		if err := t.Execute(&text, s); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text.String()), 0o644); err != nil {
			return nil, err
		}
		wrote = append(wrote, name)
	}
	slices.Sort(wrote)
	return wrote, nil
}

// nextSteps returns the output of the command.
func (s *skeleton) nextSteps(dir string, wrote []string) string {
	out := fmt.Sprintf("Wrote %s to %s.\n", strings.Join(wrote, ", "), dir)
	if s.Inside {
		out += "The directory is inside the checkout, but not in its workspace: set GOWORK=off, or move the directory.\n"
	}
	return out + fmt.Sprintf("Next: cd %s && go test ./...\n", dir)
}
