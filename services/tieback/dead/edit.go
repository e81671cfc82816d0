package dead

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
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
				err = f.checkOutput(cmd)
			}
			switch {
			case err != nil:
				return err
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
	c, err := f.client(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	d, err := c.GetDeadLetter(cmd.Context(), &operatorv1.GetDeadLetterRequest{Id: id, IncludePayload: true})
	if err != nil {
		return command.APIError(cmd, err)
	}
	text, kept, err := edited(cmd, d, file)
	if err != nil {
		return command.Failed(cmd, err)
	}
	previews, err := c.PreviewReplay(cmd.Context(), &operatorv1.PreviewReplayRequest{Ids: []uint64{id}, EditedMessage: text})
	if err != nil {
		return command.APIError(cmd, err)
	}
	p := previews.Previews[0]
	if err := refused(p, kept); err != nil {
		return command.Failed(cmd, err)
	}
	if kept != "" {
		defer os.Remove(kept) //nolint:errcheck // a file in the temporary folder
	}
	confirmed, err := f.confirmed(cmd, p)
	if err != nil {
		return command.Failed(cmd, err)
	}
	if !confirmed {
		return nil
	}
	r, err := c.EditAndReplay(cmd.Context(), &operatorv1.EditAndReplayRequest{Id: id, Message: text, Wait: f.wait, Again: f.again})
	if err != nil {
		return command.APIError(cmd, err)
	}
	return f.printResults(cmd, &operatorv1.ReplayResponse{Results: []*operatorv1.ReplayResult{r.Result}})
}

// refused returns an error if an edit is not accepted. kept is the file with its text; "": the caller has it.
func refused(p *operatorv1.ReplayPreview, kept string) error {
	switch {
	case p.Replayable || p.Unchanged:
		return nil
	case kept != "":
		return fmt.Errorf("%s (the text is in %s: correct it and give it with --file)", p.Text, kept)
	}
	return errors.New(p.Text)
}

// confirmed prints the difference and asks for confirmation.
func (f *resolveFlags) confirmed(cmd *cobra.Command, p *operatorv1.ReplayPreview) (bool, error) {
	w := f.messages(cmd)
	if p.Unchanged {
		fmt.Fprintln(w, "The message was not changed; nothing is sent.")
		return false, nil
	}
	printDifference(w, p.Difference)
	if f.yes {
		return true, nil
	}
	return confirm(cmd, fmt.Sprintf("Store this difference and replay dead letter %d?", p.Id))
}

// edited returns the edited text. kept is the temporary file that holds it if the user typed it in an editor.
func edited(cmd *cobra.Command, d *operatorv1.GetDeadLetterResponse, file string) (text, kept string, err error) {
	var raw []byte
	switch file {
	case "":
		return inEditor(cmd, d)
	case "-":
		raw, err = io.ReadAll(cmd.InOrStdin())
	default:
		raw, err = os.ReadFile(file) //nolint:gosec // the user names the file
	}
	return string(raw), "", err
}

// inEditor opens the text in the user's editor, in a file that only the user can read.
func inEditor(cmd *cobra.Command, d *operatorv1.GetDeadLetterResponse) (text, kept string, err error) {
	f, err := os.CreateTemp("", fmt.Sprintf("tieback-dead-letter-%d-*.json", d.DeadLetter.Id))
	if err != nil {
		return "", "", err
	}
	_, err = f.WriteString(d.Message)
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
