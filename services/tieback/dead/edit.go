package dead

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/spf13/cobra"
)

func editCommand() *cobra.Command {
	d := dealer{replaying: true}
	var file string
	cmd := &cobra.Command{
		Use: "edit ID [--file F] [--yes] [--wait]", Short: "Edit a letter's message and replay it; the difference is kept", Args: oneLetter,
		Long: `Edit a letter's message and replay it. An event is edited as its payload, the ERP request's JSON;
any other message as protojson. $VISUAL or $EDITOR opens it, or --file has the edited text.

The text must still be of the same company and request, of the letter's type, and close no other
request's details. What differs is printed and asked for, unless --yes was said, and is kept with
who did it. Nothing differs: nothing is done. For the rest see replay.
` + codes,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := ids(args)
			if err == nil {
				err = d.output.check()
			}
			switch {
			case err != nil:
				return err
			case d.who == "":
				return errors.New("--as: must not be empty: who deals is kept")
			case file == "" && editor() == "":
				return errors.New("neither $VISUAL nor $EDITOR is set: say which editor, or give the edited text with --file")
			case !d.yes && (file == "-" || !canAsk(cmd)):
				return errors.New("an edit is sent only after a yes: say --yes, or run it on a terminal")
			}
			return d.edit(cmd, id[0], file)
		},
	}
	d.flags(cmd)
	cmd.Flags().StringVar(&file, "file", "", "the edited text; - is standard input")
	cmd.Flags().BoolVar(&d.again, "again", false, "also if the letter was replayed or discarded before")
	cmd.Flags().BoolVar(&d.wait, "wait", false, "wait until the replay is closed or dead again, and tell how it ended")
	return cmd
}

func editor() string { return or(os.Getenv("VISUAL"), os.Getenv("EDITOR")) }

func (d *dealer) edit(cmd *cobra.Command, id uint64, file string) error {
	p, err := open(cmd, d.who)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := d.canWait(p); err != nil {
		return err
	}
	draft, err := p.Edit(cmd.Context(), id)
	if err != nil {
		return failed(cmd, err)
	}
	text, kept, err := edited(cmd, draft, file)
	if err != nil {
		return failed(cmd, err)
	}
	e, err := draft.Take(text)
	if err != nil && kept != "" {
		err = fmt.Errorf("%w (the text is in %s: mend it and say --file)", err, kept)
	}
	if err != nil {
		return failed(cmd, err)
	}
	if kept != "" {
		defer os.Remove(kept) //nolint:errcheck // a file in the temporary folder
	}
	if ok, err := d.agreed(cmd, e); err != nil || !ok {
		return ended(cmd, err)
	}
	return d.deal(cmd, p, []uint64{id}, func(ctx context.Context, _ uint64) (Dealt, error) { return e.Replay(ctx, d.again) })
}

// ended is exit code 0, or 1 and why.
func ended(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	return failed(cmd, err)
}

// agreed prints the difference, and asks.
func (d *dealer) agreed(cmd *cobra.Command, e *Edited) (bool, error) {
	w := d.beside(cmd)
	if e.Difference == "" {
		fmt.Fprintln(w, "Nothing was changed, so nothing is done.")
		return false, nil
	}
	printDifference(w, e.Difference)
	if d.yes {
		return true, nil
	}
	return ask(cmd, fmt.Sprintf("Keep this difference and replay letter %d as %s?", e.Letter.ID, d.who))
}

// edited gets the edited text; kept is the file that it was typed in, for whoever made a mistake in
// it; "": none.
func edited(cmd *cobra.Command, draft *Draft, file string) (text, kept string, err error) {
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

// inEditor has the user edit the text in a file that only they can read.
func inEditor(cmd *cobra.Command, draft *Draft) (text, kept string, err error) {
	f, err := os.CreateTemp("", fmt.Sprintf("tieback-letter-%d-*.json", draft.Letter.ID))
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
