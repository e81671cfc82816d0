package dead

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/services/console/operator/dead"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

func editCommand() *cobra.Command {
	f := resolveFlags{replaying: true}
	var file string
	cmd := &cobra.Command{
		Use: "edit ID [--file F] [--yes] [--wait]", Short: "Edit the message of a dead letter and replay it", Args: oneID,
		Long: `Edit the message of a dead letter and replay it. An event is edited as its payload, the ERP request's JSON;
any other message as protojson. $VISUAL or $EDITOR opens it, or --file has the edited text.

The edited text must have the same company, request and type, and must not close other request details.
The command prints the difference and asks for confirmation, unless --yes is given. The difference is stored
with the name of the resolver. Without a difference, nothing is sent. For the rest see tieback dead replay.
` + codes,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := ids(args)
			if err == nil {
				err = f.output.Check()
			}
			switch {
			case err != nil:
				return err
			case f.who == "":
				return errors.New("--as: must not be empty: the name of the resolver is stored")
			case file == "" && editor() == "":
				return errors.New("neither $VISUAL nor $EDITOR is set: set one, or give the edited text with --file")
			case !f.yes && (file == "-" || !interactive(cmd)):
				return errors.New("an edit needs a confirmation: give --yes, or run the command on a terminal")
			}
			return f.edit(cmd, id[0], file)
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVar(&file, "file", "", "the edited text; - is standard input")
	cmd.Flags().BoolVar(&f.again, "again", false, "replay the dead letter even if it is resolved")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "wait until the replay is closed or dead-lettered again, and print its end")
	return cmd
}

func editor() string { return terminal.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR")) }

func (f *resolveFlags) edit(cmd *cobra.Command, id uint64, file string) error {
	p, err := open(cmd, f.who)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := f.canWait(p); err != nil {
		return err
	}
	draft, err := p.Edit(cmd.Context(), id)
	if err != nil {
		return command.Failed(cmd, err)
	}
	text, kept, err := edited(cmd, draft, file)
	if err != nil {
		return command.Failed(cmd, err)
	}
	e, err := draft.Take(text)
	if err != nil && kept != "" {
		err = fmt.Errorf("%w (the text is in %s: correct it and give it with --file)", err, kept)
	}
	if err != nil {
		return command.Failed(cmd, err)
	}
	if kept != "" {
		defer os.Remove(kept) //nolint:errcheck // a file in the temporary folder
	}
	confirmed, err := f.confirmed(cmd, e)
	if err != nil {
		return command.Failed(cmd, err)
	}
	if !confirmed {
		return nil
	}
	return f.resolve(cmd, p, []uint64{id}, func(ctx context.Context, _ uint64) (dead.Resolution, error) { return e.Replay(ctx, f.again) })
}

// confirmed prints the difference and asks for confirmation.
func (f *resolveFlags) confirmed(cmd *cobra.Command, e *dead.Edited) (bool, error) {
	w := f.messages(cmd)
	if e.Difference == "" {
		fmt.Fprintln(w, "The message was not changed; nothing is sent.")
		return false, nil
	}
	printDifference(w, e.Difference)
	if f.yes {
		return true, nil
	}
	return confirm(cmd, fmt.Sprintf("Store this difference and replay dead letter %d as %s?", e.DeadLetter.ID, f.who))
}

// edited returns the edited text. kept is the temporary file that holds it if the user typed it in an editor.
func edited(cmd *cobra.Command, draft *dead.Draft, file string) (text, kept string, err error) {
	var raw []byte
	switch file {
	case "":
		return inEditor(cmd, draft)
	case "-":
		raw, err = io.ReadAll(cmd.InOrStdin())
	default:
		raw, err = os.ReadFile(file) //nolint:gosec // the user names the file
	}
	return string(raw), "", err
}

// inEditor opens the text in the user's editor, in a file that only the user can read.
func inEditor(cmd *cobra.Command, draft *dead.Draft) (text, kept string, err error) {
	f, err := os.CreateTemp("", fmt.Sprintf("tieback-dead-letter-%d-*.json", draft.DeadLetter.ID))
	if err != nil {
		return "", "", err
	}
	_, err = f.WriteString(draft.Text)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", "", errors.Join(err, os.Remove(f.Name()))
	}
	run := exec.CommandContext(cmd.Context(), "sh", "-c", editor()+` "$1"`, "sh", f.Name()) //nolint:gosec // the user's own editor
	run.Stdin, run.Stdout, run.Stderr = cmd.InOrStdin(), cmd.ErrOrStderr(), cmd.ErrOrStderr()
	if err := run.Run(); err != nil {
		return "", "", fmt.Errorf("the editor: %w (the text is in %s)", err, f.Name())
	}
	raw, err := os.ReadFile(f.Name())
	return string(raw), f.Name(), err
}
