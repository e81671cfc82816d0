package dead

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
	"github.com/tieback/tieback/services/tieback/run"
)

// ErrFailed is exit code 1: what went wrong has been told already. Any other error of the
// command is a mistake in its usage or settings, exit code 2, and not told yet.
var ErrFailed = errors.New("failed; the reason was told")

// codes ends each command's help.
const codes = `
It needs the settings of tieback run. With the embedded broker (no TIEBACK_NATS_URL) tieback run
must be stopped first: what is replayed is then worked when it runs again.

Exit code 0: done. 1: it failed, or not all was done. 2: wrong usage or settings.`

// Command is `tieback dead`. It needs the same settings as `tieback run`.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dead", Short: "Work off what could not be done: list, show, replay, discard and edit dead letters",
		Long: `Work off what could not be done.

A dead letter is a message that a stop of the pipeline gave up, whole, with the reason. It stays
until somebody replays or discards it, and who did what, when and why stays for ever. A replay
goes through the same stops and guards as any message: what was booked is not booked twice, what
a newer request has overtaken is refused, and a request detail that Procore holds as ended
keeps its end.

Who deals is what --as says, or else the user of this machine: nobody checks it, as the services
know no users. Guard the command by who may reach the broker.
` + codes,
		Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
			return errors.New("dead: say what to do: list, show, replay, discard or edit")
		},
	}
	cmd.AddCommand(listCommand(), showCommand(), replayCommand(), discardCommand(), editCommand())
	return cmd
}

// failed tells an error and makes it exit code 1.
func failed(cmd *cobra.Command, err error) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "tieback dead: %s\n", terminal.Plain(err.Error()))
	return ErrFailed
}

// session is a connected command.
type session struct {
	*run.Pipeline
	Desk
}

// open reads the settings, where an error is exit code 2, then connects.
func open(cmd *cobra.Command, who string) (*session, error) {
	p, err := tenant.LoadServing("dead")
	if err != nil {
		return nil, err
	}
	b, err := connect.Connect(cmd.Context(), p)
	if err != nil {
		return nil, failed(cmd, err)
	}
	return &session{Pipeline: b, Desk: Desk{Bus: b.Bus, Who: who}}, nil
}

// output is the flag -o.
type output string

func (o *output) flag(cmd *cobra.Command) {
	cmd.Flags().StringVarP((*string)(o), "output", "o", "table", "table or json")
}

func (o output) check() error {
	if o != "table" && o != "json" {
		return fmt.Errorf("-o %s: must be table or json", string(o))
	}
	return nil
}

// me is the user of this machine.
func me() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// oneLetter wants the id of one letter.
func oneLetter(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return fmt.Errorf("say which dead letter, by its id: tieback dead %s 12 (tieback dead list shows them)", cmd.Name())
	case len(args) > 1:
		return fmt.Errorf("%d arguments were given: %s one dead letter at a time, as in tieback dead %s 12", len(args), cmd.Name(), cmd.Name())
	}
	return nil
}

// ids reads the ids of letters.
func ids(args []string) ([]uint64, error) {
	var out []uint64
	seen := map[uint64]bool{}
	for _, a := range args {
		id, err := strconv.ParseUint(a, 10, 64)
		if err != nil || id == 0 {
			return nil, fmt.Errorf("%q is no letter's id: a positive number, as list shows it", a)
		}
		if !seen[id] {
			seen[id], out = true, append(out, id)
		}
	}
	return out, nil
}
