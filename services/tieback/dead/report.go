package dead

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/console/operator/dead"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// reporter reports the result for each dead letter: as text at once, as JSON at the end.
type reporter struct {
	cmd    *cobra.Command
	output command.Output
	doc    resultsDoc
	sent   []*tiebackv1.Resolution // the replays that were sent
	failed bool
}

func newReporter(cmd *cobra.Command, o command.Output) *reporter {
	return &reporter{cmd: cmd, output: o, doc: resultsDoc{Results: []resultDoc{}}}
}

// result reports the result for one dead letter. It must not be called concurrently.
func (p *reporter) result(r dead.Result) {
	doc := resultDoc{ID: r.ID, Done: r.Err == nil, Resumed: r.Resolution.Resumed}
	if r.Resolution.Resolution != nil {
		d := dead.Stored(r.Resolution.Resolution)
		doc.Resolution = &d
	}
	if r.Err != nil {
		doc.Error = r.Err.Error()
		p.doc.Failed++
		p.problem(r.Err)
	} else {
		p.doc.Done++
		p.sent = append(p.sent, r.Resolution.Resolution)
		p.print("%s", resultText(r))
	}
	p.doc.Results = append(p.doc.Results, doc)
}

func resultText(r dead.Result) string {
	d := r.Resolution.Resolution
	run := d.Subject[strings.LastIndexByte(d.Subject, '.')+1:]
	switch {
	case r.Resolution.Resumed:
		return fmt.Sprintf("dead letter %d %s, and that replay was interrupted: resumed, run %s", r.ID, request.ResolutionText(d), run)
	case d.Action == tiebackv1.Action_ACTION_REPLAYED:
		return fmt.Sprintf("dead letter %d: replayed, run %s", r.ID, run)
	}
	return fmt.Sprintf("dead letter %d: discarded", r.ID)
}

// end reports the end of one replay. It must not be called concurrently.
func (p *reporter) end(e dead.End) {
	doc := endDoc{At: e.At.UTC(), Closed: e.Closed != nil, DeadLetter: e.NewID}
	if e.Closed != nil {
		doc.Text = request.CloseOutsText(e.Closed.CloseOuts)
	} else {
		doc.Text = fmt.Sprintf("dead-lettered again: %s (dead letter %d)", e.Dead.GetError(), e.NewID)
	}
	i := slices.IndexFunc(p.doc.Results, func(r resultDoc) bool { return r.ID == e.ID })
	if i >= 0 {
		p.doc.Results[i].End = &doc
	}
	p.print("dead letter %d ended: %s", e.ID, doc.Text)
}

func (p *reporter) print(format string, args ...any) {
	if !p.output.JSON() {
		fmt.Fprintln(p.cmd.OutOrStdout(), terminal.Line(fmt.Sprintf(format, args...)))
	}
}

// problem prints an error at once and makes the command fail at the end.
func (p *reporter) problem(err error) {
	p.failed = true
	_ = command.Failed(p.cmd, err)
}

// finish prints the JSON document or the totals, and returns command.ErrFailed if there was a problem.
func (p *reporter) finish() error {
	if p.output == "json" {
		if err := terminal.JSON(p.cmd.OutOrStdout(), p.doc); err != nil {
			return command.Failed(p.cmd, err)
		}
	} else if n := p.doc.Done + p.doc.Failed; n > 1 {
		p.print("%d done, %d not.", p.doc.Done, p.doc.Failed)
	}
	if p.failed {
		return command.ErrFailed
	}
	return nil
}
