package dead

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/services/console/operator/dead"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/internal/connect"
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
	cmd.Flags().StringVar(&f.who, "as", connect.User(), "the name of the resolver; it is stored")
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
running pipeline, so it does not work with the embedded broker.

With -o json: {"results": [{"id": 12, "done": true, "resolution": {...}, "end": {...}}], "done": 1, "failed": 0}.
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
		Use: `discard ID... | --cause ours ... --reason "..." [--yes]`, Short: "Resolve dead letters without processing them, with a reason",
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
func (f *resolveFlags) check(args []string) ([]uint64, request.Filter, error) {
	if err := f.output.Check(); err != nil {
		return nil, request.Filter{}, err
	}
	if f.who == "" {
		return nil, request.Filter{}, errors.New("--as: must not be empty: the name of the resolver is stored")
	}
	selected, err := ids(args)
	if err != nil {
		return nil, request.Filter{}, err
	}
	if (len(args) > 0) == f.filter.given() {
		return nil, request.Filter{}, errors.New("select dead letters either by their ids or by filters such as --cause; tieback dead list shows both")
	}
	filter, err := f.filter.read(time.Now())
	return selected, filter, err
}

func (f *resolveFlags) run(cmd *cobra.Command, args []string) error {
	selected, filter, err := f.check(args)
	if err != nil {
		return err
	}
	if len(args) == 0 && !f.yes && !interactive(cmd) {
		return errors.New("filters need a confirmation: give --yes, or run the command on a terminal")
	}
	p, err := open(cmd, f.who)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := f.canWait(p); err != nil {
		return err
	}
	if len(args) == 0 {
		var confirmed bool
		if selected, confirmed, err = f.plan(cmd, p, filter); err != nil {
			return command.Failed(cmd, err)
		}
		if !confirmed {
			return nil
		}
	}
	return f.resolve(cmd, p, selected, func(ctx context.Context, id uint64) (dead.Resolution, error) {
		if f.replaying {
			return p.Replay(ctx, id, f.again)
		}
		return p.Discard(ctx, id, f.reason)
	})
}

func (f *resolveFlags) canWait(p *session) error {
	if f.wait && p.Settings.NATSURL == "" {
		return errors.New("--wait: the embedded broker runs in this process without the services, so no replay would end; leave it out, or set TIEBACK_NATS_URL")
	}
	return nil
}

// plan selects dead letters by the filter, prints them, and asks for confirmation.
func (f *resolveFlags) plan(cmd *cobra.Command, p *session, filter request.Filter) (selected []uint64, confirmed bool, err error) {
	filter.All = f.again
	letters, err := dead.List(cmd.Context(), p.Bus, filter)
	if err != nil {
		return nil, false, err
	}
	for _, l := range letters.DeadLetters {
		selected = append(selected, l.ID)
	}
	if err := printLetters(f.messages(cmd), letters); err != nil {
		return nil, false, err
	}
	if f.yes || letters.Total == 0 {
		return selected, true, nil
	}
	what := map[bool]string{true: "Replay", false: "Discard"}[f.replaying]
	confirmed, err = confirm(cmd, fmt.Sprintf("%s %s as %s?", what, countLetters(letters.Total), f.who))
	return selected, confirmed, err
}

// messages returns where to print messages that are not the result.
func (f *resolveFlags) messages(cmd *cobra.Command) io.Writer {
	if f.output.JSON() {
		return cmd.ErrOrStderr()
	}
	return cmd.OutOrStdout()
}

// resolve resolves dead letters, reports each result, and waits for the replays to end if --wait is given.
func (f *resolveFlags) resolve(cmd *cobra.Command, p *session, ids []uint64, one func(context.Context, uint64) (dead.Resolution, error)) error {
	watch, err := p.Watch(cmd.Context())
	if err != nil {
		return command.Failed(cmd, err)
	}
	r := newReporter(cmd, f.output)
	dead.ResolveAll(cmd.Context(), ids, one, r.result)
	if f.wait {
		if err := watch.Wait(cmd.Context(), r.sent, r.end); err != nil {
			r.problem(fmt.Errorf("not all replays have ended: %w", err))
		}
	}
	return r.finish()
}
