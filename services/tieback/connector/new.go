package connector

import (
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

// files are what a new connector begins with. Their names end in .tmpl, so that no tool
// takes them for a part of this module.
//
//go:embed template/*.tmpl
var files embed.FS

// skeleton is what the templates are filled with.
type skeleton struct {
	Module  string
	Tieback string // the checkout
	Inside  bool   // the connector's folder lies in the checkout
}

func newCommand() *cobra.Command {
	var s skeleton
	cmd := &cobra.Command{
		Use:   "new DIR",
		Short: "Write the beginning of a connector, in Go, that passes the conformance suite",
		Long: `New writes a small connector of its own Go module to DIR: it keeps vendors and jobs in
a file, serves them over gRPC, and has a test that runs the conformance suite, kill -9 included.
Replace the file by your ERP, step by step; the suite tells what breaks.

Exit code 0: written. 2: wrong usage, or it could not be written.`,
		Args: one("name the new folder, as in tieback connector new ../my-erp"),
		RunE: func(cmd *cobra.Command, args []string) error {
			wrote, err := s.write(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), s.told(args[0], wrote))
			return err
		},
	}
	cmd.Flags().StringVar(&s.Module, "module", "", "the Go module's path; the name of DIR")
	cmd.Flags().StringVar(&s.Tieback, "tieback", "", "a checkout of Tieback to build against; the one that you are in")
	return cmd
}

// write fills dir and gives the names of the files. A folder that holds something is refused.
func (s *skeleton) write(dir string) ([]string, error) {
	if err := empty(dir); err != nil {
		return nil, err
	}
	if err := s.find(dir); err != nil {
		return nil, err
	}
	mod, sum, err := s.modFiles()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	wrote, err := s.fill(dir)
	for name, text := range map[string]string{"go.mod": mod, "go.sum": sum} {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)
		}
	}
	return append([]string{"go.mod"}, wrote...), err
}

func empty(dir string) error {
	there, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(there) > 0:
		return fmt.Errorf("%s is not empty (it has %s); give a new folder, or an empty one", dir, there[0].Name())
	}
	return nil
}

func (s *skeleton) fill(dir string) ([]string, error) {
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

// told is what to do next.
func (s *skeleton) told(dir string, wrote []string) string {
	out := fmt.Sprintf("Wrote %s to %s.\n", strings.Join(wrote, ", "), dir)
	if s.Inside {
		out += "It lies inside the checkout's workspace, which does not know it: export GOWORK=off, or move it.\n"
	}
	return out + fmt.Sprintf("Next: cd %s && go test ./...\n", dir)
}
