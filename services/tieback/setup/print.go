package setup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// printer prints a plan: for users during the setup, as JSON at the end.
type printer struct {
	out   io.Writer
	json  bool
	plan  *Plan
	noted int // notes printed so far
}

// doc is the JSON output of -o json. Its field names are stable.
type doc struct {
	*Plan
	DryRun  bool   `json:"dry_run"`
	Changes int    `json:"changes"` // steps that change something, done or not
	Error   string `json:"error,omitempty"`
}

// marks are the prefixes of a step's line.
var marks = map[Action]struct{ mark, colour string }{
	Create: {"+ create", terminal.Green},
	Change: {"~ change", terminal.Yellow},
	Remove: {"- remove", terminal.Red},
	Keep:   {"  keep  ", terminal.Dim},
}

func (p *printer) say(format string, args ...any) {
	if !p.json {
		fmt.Fprintf(p.out, format, args...)
	}
}

func line(s Step) string {
	text := terminal.Line(s.What)
	if s.Detail != "" {
		text += ": " + terminal.Line(s.Detail)
	}
	return text
}

// show prints the plan.
func (p *printer) show() {
	p.say("%s\n", terminal.Paint(p.out, terminal.Bold, fmt.Sprintf("Company %d", p.plan.Company)))
	for _, s := range p.plan.Steps {
		m := marks[s.Action]
		p.say("%s\n", terminal.Paint(p.out, m.colour, "  "+m.mark+" "+line(s)))
	}
	p.notes()
	if p.plan.Changes() == 0 {
		p.say("\nNothing to change.\n")
		return
	}
	p.say("\nPlan: %d to create, %d to change, %d to remove.\n", p.plan.Count(Create), p.plan.Count(Change), p.plan.Count(Remove))
}

// notes prints the notes that were added since the last call.
func (p *printer) notes() {
	for _, n := range p.plan.Notes[p.noted:] {
		p.say("  note: %s\n", terminal.Line(n))
	}
	p.noted = len(p.plan.Notes)
}

// done prints a step that was done.
func (p *printer) done(s Step) { p.say("done: %s %s\n", s.Action, terminal.Line(s.What)) }

// end prints the remaining notes and the result.
func (p *printer) end(cmd *cobra.Command, dry bool, err error) error {
	p.notes()
	if len(p.plan.Restart) > 0 {
		p.say("\nRestart the services now: %s; this takes effect when they start.\n", strings.Join(p.plan.Restart, ", "))
	}
	if p.json {
		d := doc{Plan: p.plan, DryRun: dry, Changes: p.plan.Changes()}
		if err != nil {
			d.Error = err.Error()
		}
		if jsonErr := terminal.JSON(p.out, d); jsonErr != nil {
			return failed(cmd, jsonErr)
		}
	}
	if err != nil {
		return failed(cmd, fmt.Errorf("%w\nThe completed steps are kept; run it again to continue", err))
	}
	return nil
}

// canAsk reports whether standard input is a terminal.
func canAsk(cmd *cobra.Command) bool {
	f, ok := cmd.InOrStdin().(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) //nolint:gosec // a file descriptor fits
}

// ask asks a yes-or-no question. Any answer but yes is a no.
func ask(cmd *cobra.Command, question string) (bool, error) {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}
