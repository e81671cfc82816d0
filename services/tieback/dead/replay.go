package dead

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// resolveFlags are the flags of the commands that resolve dead letters.
type resolveFlags struct {
	filter
	output    command.Output
	who       string
	yes       bool
	again     bool
	wait      bool
	reason    string
	replaying bool
}

func (f *resolveFlags) flags(cmd *cobra.Command) {
	f.output.Flag(cmd)
	cmd.Flags().StringVar(&f.who, "as", "", "the name of the resolver, which is stored (default: "+connect.User()+"); not with TIEBACK_URL")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask for confirmation")
}

const selection = `
Select dead letters by id, or by the filters of tieback dead list. With filters, the command prints the
dead letters and asks for confirmation, unless --yes is given. --until 0s selects all that are open.
`

func replayCommand() *cobra.Command {
	f := resolveFlags{replaying: true}
	cmd := &cobra.Command{
		Use: "replay ID... | --cause erp --since 2h ... [--yes] [--wait]", Short: "Send the messages of dead letters through the pipeline again",
		Long: `Send the messages of dead letters again, each on its own subject as a new run, and store who did it.
` + selection + `
If two persons resolve a dead letter at once, one succeeds, and the other gets an error that says who resolved
it and when. To resume a replay that a crash interrupted, replay the dead letter once more. A resolved
dead letter is not replayed again unless --again is given. Then the message is sent without earlier edits.

A replay that fails again becomes a new dead letter. A malformed message can't be replayed: edit
it, or discard it. --wait waits until each replay is closed or dead-lettered again, and prints its end; it needs a
running pipeline. It waits for at most ten minutes.
` + codes,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.filter.flags(cmd)
	f.flags(cmd)
	cmd.Flags().BoolVar(&f.again, "again", false, "replay resolved dead letters too")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "wait until each replay is closed or dead-lettered again, and print its end")
	return cmd
}

func discardCommand() *cobra.Command {
	var f resolveFlags
	cmd := &cobra.Command{
		Use: `discard ID... | --cause tieback ... --reason "..." [--yes]`, Short: "Resolve dead letters without processing them, with a reason",
		Long: `Resolve dead letters without processing them. They are no longer listed. The resolution, with who, when and why, is kept.
` + selection + codes,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.reason == "" {
				return errors.New("--reason is missing: give the reason for which the message is not needed; it is stored")
			}
			return f.run(cmd, args)
		},
	}
	f.filter.flags(cmd)
	f.flags(cmd)
	cmd.Flags().StringVar(&f.reason, "reason", "", "why the message is not needed (required)")
	return cmd
}

// check checks the usage, and returns the ids of the dead letters or the filter that selects them.
func (f *resolveFlags) check(cmd *cobra.Command, args []string) ([]uint64, *operatorv1.DeadLetterFilter, error) {
	if err := f.checkOutput(cmd); err != nil {
		return nil, nil, err
	}
	selected, err := ids(args)
	if err != nil {
		return nil, nil, err
	}
	if (len(args) > 0) == f.filter.given() {
		return nil, nil, errors.New("select dead letters either by their ids or by filters such as --cause; tieback dead list shows both")
	}
	filter, err := f.filter.read(time.Now())
	return selected, filter, err
}

// checkOutput checks the flags that all commands have.
func (f *resolveFlags) checkOutput(cmd *cobra.Command) error {
	if f.who == "" && cmd.Flags().Changed("as") {
		return errors.New("--as: must not be empty: the name of the resolver is stored")
	}
	return f.output.Check()
}

func (f *resolveFlags) run(cmd *cobra.Command, args []string) error {
	selected, filter, err := f.check(cmd, args)
	if err != nil {
		return err
	}
	if len(args) == 0 && !f.yes && !interactive(cmd) {
		return errors.New("filters need a confirmation: give --yes, or run the command on a terminal")
	}
	c, err := f.client(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	if len(args) == 0 {
		var confirmed bool
		if selected, confirmed, err = f.plan(cmd, c, filter); err != nil {
			return command.APIError(cmd, err)
		}
		if !confirmed {
			return nil
		}
	}
	return f.resolve(cmd, c, selected)
}

func (f *resolveFlags) client(cmd *cobra.Command) (*connect.Client, error) {
	c, err := command.Client(cmd, connect.Options{As: f.who})
	if err == nil && f.wait && c.Stopped {
		c.Close()
		return nil, errors.New("--wait: no tieback run runs, so no replay would end; leave it out, or start tieback run")
	}
	return c, err
}

// plan selects dead letters by the filter, prints them, and asks for confirmation.
func (f *resolveFlags) plan(cmd *cobra.Command, c *connect.Client, filter *operatorv1.DeadLetterFilter) (selected []uint64, confirmed bool, err error) {
	filter.IncludeResolved = f.again
	letters, err := all(cmd.Context(), c, filter)
	if err != nil {
		return nil, false, err
	}
	for _, l := range slices.Backward(letters.DeadLetters) {
		selected = append(selected, l.Id)
	}
	if err := printLetters(f.messages(cmd), letters); err != nil {
		return nil, false, err
	}
	if f.yes || letters.Total == 0 {
		return selected, true, nil
	}
	what := map[bool]string{true: "Replay", false: "Discard"}[f.replaying]
	confirmed, err = confirm(cmd, fmt.Sprintf("%s %s?", what, countLetters(len(selected))))
	return selected, confirmed, err
}

// messages returns where to print messages that are not the result.
func (f *resolveFlags) messages(cmd *cobra.Command) io.Writer {
	if f.output.JSON() {
		return cmd.ErrOrStderr()
	}
	return cmd.OutOrStdout()
}

// perCall is how many dead letters a call of the API takes.
const perCall = 1000

// resolve replays or discards dead letters, and prints the results.
func (f *resolveFlags) resolve(cmd *cobra.Command, c *connect.Client, ids []uint64) error {
	whole := &operatorv1.ReplayResponse{}
	var failed error
	for some := range slices.Chunk(ids, perCall) {
		results, err := f.call(cmd.Context(), c, some)
		if err != nil {
			failed = command.APIError(cmd, err)
			break
		}
		whole.Results = append(whole.Results, results...)
	}
	if failed != nil && len(whole.Results) == 0 {
		return failed
	}
	return cmp.Or(f.printResults(cmd, whole), failed)
}

func (f *resolveFlags) call(ctx context.Context, c *connect.Client, ids []uint64) ([]*operatorv1.ReplayResult, error) {
	if !f.replaying {
		r, err := c.Discard(ctx, &operatorv1.DiscardRequest{Ids: ids, Reason: f.reason})
		return r.GetResults(), err
	}
	r, err := c.Replay(ctx, &operatorv1.ReplayRequest{Ids: ids, Wait: f.wait, Again: f.again})
	return r.GetResults(), err
}

// printResults prints results. It returns ErrFailed if a dead letter was not resolved, or a replay has not ended with --wait.
func (f *resolveFlags) printResults(cmd *cobra.Command, all *operatorv1.ReplayResponse) error {
	w, done, failed := cmd.OutOrStdout(), 0, false
	for _, r := range all.Results {
		unfinished := f.wait && r.Done && r.Ended == nil
		failed = failed || !r.Done || unfinished
		switch {
		case !r.Done:
			_ = command.Failed(cmd, errors.New(r.Error))
			continue
		case unfinished:
			_ = command.Failed(cmd, fmt.Errorf("the replay of dead letter %d has not ended yet; tieback dead show %d shows its state", r.Id, r.Id))
		}
		if done++; !f.output.JSON() {
			fmt.Fprintln(w, terminal.Line(resultText(r)))
		}
	}
	switch {
	case f.output.JSON():
		if err := terminal.JSON(w, all); err != nil {
			return command.Failed(cmd, err)
		}
	case len(all.Results) > 1:
		fmt.Fprintf(w, "%d done, %d not.\n", done, len(all.Results)-done)
	}
	if failed {
		return command.ErrFailed
	}
	return nil
}

func resultText(r *operatorv1.ReplayResult) string {
	subject := r.Resolution.GetSubject()
	run := subject[strings.LastIndexByte(subject, '.')+1:]
	text := fmt.Sprintf("dead letter %d: discarded", r.Id)
	switch {
	case r.Resumed:
		text = fmt.Sprintf("dead letter %d %s, and that replay was interrupted: resumed, run %s", r.Id, r.Resolution.Text, run)
	case subject != "":
		text = fmt.Sprintf("dead letter %d: replayed, run %s", r.Id, run)
	}
	switch {
	case r.Ended == nil:
		return text
	case r.Closed:
		return text + "; ended: " + r.Text
	}
	return fmt.Sprintf("%s; dead-lettered again: %s (dead letter %d)", text, r.Text, r.DeadLetter)
}
