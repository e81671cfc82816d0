package dead

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/request"
)

// dealer are the flags of the commands that deal with letters.
type dealer struct {
	filter
	output
	who       string
	yes       bool
	again     bool
	wait      bool
	reason    string
	replaying bool
}

func (d *dealer) flags(cmd *cobra.Command) {
	d.output.flag(cmd)
	cmd.Flags().StringVar(&d.who, "as", me(), "who deals; kept with the letter")
	cmd.Flags().BoolVar(&d.yes, "yes", false, "do not ask")
}

const picks = `
Letters are picked by id, or by the same filters as in list; then what would be done is printed
and asked for, unless --yes was said. --until 0s picks all that are open.
`

func replayCommand() *cobra.Command {
	d := dealer{replaying: true}
	cmd := &cobra.Command{
		Use: "replay ID... | --cause erp --since 2h ... [--yes] [--wait]", Short: "Send letters' messages through the pipeline again",
		Long: `Send letters' messages again, each on its own subject in a run of its own, and keep who did it.
` + picks + `
Of two who deal with one letter at once, one does, and the other is told who and when. A replay
that was cut off by a crash is finished by replaying the letter once more. What was replayed or
discarded is not replayed again, unless --again is said: a discard is meant to be final. Then the
message is sent as it lies in the letter, without earlier edits.

A replay that fails for good again becomes a new letter. A message that does not parse can't be
replayed: edit it, or discard it. --wait waits until all are closed or dead again, and tells how
each ended; it needs a running pipeline, so not the embedded broker.

With -o json: {"results": [{"id": 12, "done": true, "dealing": {...}, "end": {...}}], "done": 1, "failed": 0}.
` + codes,
		RunE: func(cmd *cobra.Command, args []string) error { return d.run(cmd, args) },
	}
	d.filter.flags(cmd)
	d.flags(cmd)
	cmd.Flags().BoolVar(&d.again, "again", false, "also what was replayed or discarded before")
	cmd.Flags().BoolVar(&d.wait, "wait", false, "wait until the replays are closed or dead again, and tell how they ended")
	return cmd
}

func discardCommand() *cobra.Command {
	var d dealer
	cmd := &cobra.Command{
		Use: `discard ID... | --cause ours ... --reason "..." [--yes]`, Short: "Close letters for good, with a reason that is kept",
		Long: `Close letters for good: they are listed no more, and who did it, when and why is kept.
` + picks + codes,
		RunE: func(cmd *cobra.Command, args []string) error {
			if d.reason == "" {
				return errors.New("--reason is missing: why nothing more is to be done; it is kept")
			}
			return d.run(cmd, args)
		},
	}
	d.filter.flags(cmd)
	d.flags(cmd)
	cmd.Flags().StringVar(&d.reason, "reason", "", "why nothing more is to be done (required)")
	return cmd
}

// check checks usage, and gives the letters' ids or the filter that picks them.
func (d *dealer) check(args []string) ([]uint64, request.Filter, error) {
	if err := d.output.check(); err != nil {
		return nil, request.Filter{}, err
	}
	if d.who == "" {
		return nil, request.Filter{}, errors.New("--as: must not be empty: who deals is kept")
	}
	picked, err := ids(args)
	if err != nil {
		return nil, request.Filter{}, err
	}
	if (len(args) > 0) == d.filter.given() {
		return nil, request.Filter{}, errors.New("pick letters either by their ids or by filters such as --cause; tieback dead list shows both")
	}
	f, err := d.filter.read(time.Now())
	return picked, f, err
}

func (d *dealer) run(cmd *cobra.Command, args []string) error {
	picked, f, err := d.check(args)
	if err != nil {
		return err
	}
	if len(args) == 0 && !d.yes && !canAsk(cmd) {
		return errors.New("many letters are dealt with only after a yes: say --yes, or run it on a terminal")
	}
	p, err := open(cmd, d.who)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := d.canWait(p); err != nil {
		return err
	}
	if len(args) == 0 {
		var agreed bool
		if picked, agreed, err = d.plan(cmd, p, f); err != nil {
			return failed(cmd, err)
		}
		if !agreed {
			return nil
		}
	}
	return d.deal(cmd, p, picked, d.one(p))
}

func (d *dealer) canWait(p *session) error {
	if d.wait && p.Settings.NATSURL == "" {
		return errors.New("--wait: the embedded broker is in this process, and nothing works the replays meanwhile; leave it out, or set TIEBACK_NATS_URL")
	}
	return nil
}

// plan picks letters by the filter, prints what would be done, and asks.
func (d *dealer) plan(cmd *cobra.Command, p *session, f request.Filter) (picked []uint64, agreed bool, err error) {
	f.All = d.again
	letters, err := request.DeadLetters(cmd.Context(), p.Bus, f)
	if err != nil {
		return nil, false, err
	}
	for _, l := range letters {
		picked = append(picked, l.ID)
	}
	if err := printLetters(d.beside(cmd), letters); err != nil {
		return nil, false, err
	}
	if d.yes || len(letters) == 0 {
		return picked, true, nil
	}
	what := map[bool]string{true: "Replay", false: "Discard"}[d.replaying]
	agreed, err = ask(cmd, fmt.Sprintf("%s %s as %s?", what, letterCount(len(letters)), d.who))
	return picked, agreed, err
}

// beside is where people are told what is not the result.
func (d *dealer) beside(cmd *cobra.Command) io.Writer {
	if d.output == "json" {
		return cmd.ErrOrStderr()
	}
	return cmd.OutOrStdout()
}

// deal deals with the letters, tells of each, and waits for their ends where that is wanted.
func (d *dealer) deal(cmd *cobra.Command, p *session, picked []uint64, one dealing) error {
	watch, err := p.Watch(cmd.Context())
	if err != nil {
		return failed(cmd, err)
	}
	t := newTeller(cmd, d.output)
	Many(cmd.Context(), picked, one, t.tell)
	if d.wait {
		if err := watch.Wait(cmd.Context(), t.replays(), t.ended); err != nil {
			t.problem(fmt.Errorf("not all replays have ended: %w", err))
		}
	}
	return t.end()
}

// dealing deals with one letter.
type dealing func(context.Context, uint64) (Dealt, error)

func (d *dealer) one(p *session) dealing {
	if d.replaying {
		return func(ctx context.Context, id uint64) (Dealt, error) { return p.Replay(ctx, id, d.again) }
	}
	return func(ctx context.Context, id uint64) (Dealt, error) { return p.Discard(ctx, id, d.reason) }
}
