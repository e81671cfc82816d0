// Package dead implements `tieback dead`: it lists, shows, replays, edits and discards dead letters.
package dead

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/services/tieback/command"
)

// codes ends the help of each command.
const codes = "\n" + command.Where + `
If no tieback run runs, the next one processes the replays.

Exit code 0: done. 1: it failed, or not all was done. 2: wrong usage or settings.`

// Command is `tieback dead`.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dead", Short: "List, show, replay, edit and discard dead letters",
		Long: `List, show, replay, edit and discard dead letters.

A dead letter is a message that a stage gave up on, with the reason. It is open until
it is replayed or discarded. The resolution, with who, when and why, is kept without limit. A replay
passes the same stages and idempotency guards as any message: a booking is not made twice, a
booking that a newer request has superseded is refused, and a request detail that has ended in
Procore keeps its status.

The console at TIEBACK_URL records the name of its caller as the resolver. Otherwise the name is the value of --as, by
default the current user of this machine, and is not verified.
` + codes,
		Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			return errors.New("dead: name a command: list, show, replay, discard or edit")
		},
	}
	cmd.AddCommand(listCommand(), showCommand(), replayCommand(), discardCommand(), editCommand())
	return cmd
}

// oneID accepts one argument, the id of a dead letter.
func oneID(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return fmt.Errorf("give the id of a dead letter: tieback dead %s 12 (tieback dead list shows the ids)", cmd.Name())
	case len(args) > 1:
		return fmt.Errorf("%d ids were given: %s one dead letter at a time, as in tieback dead %s 12", len(args), cmd.Name(), cmd.Name())
	}
	return nil
}

// ids parses the ids of dead letters and removes duplicates.
func ids(args []string) ([]uint64, error) {
	var out []uint64
	seen := map[uint64]bool{}
	for _, a := range args {
		id, err := strconv.ParseUint(a, 10, 64)
		if err != nil || id == 0 {
			return nil, fmt.Errorf("%q is not the id of a dead letter: give a positive number, as tieback dead list shows it", a)
		}
		if !seen[id] {
			seen[id], out = true, append(out, id)
		}
	}
	return out, nil
}
