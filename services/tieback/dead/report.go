package dead

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/request"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

// teller tells what was done with each letter: people at once, JSON at the end.
type teller struct {
	cmd    *cobra.Command
	output output
	doc    resultsDoc
	sent   []*tiebackv1.Resolution
	bad    bool
}

func newTeller(cmd *cobra.Command, o output) *teller {
	return &teller{cmd: cmd, output: o, doc: resultsDoc{Results: []resultDoc{}}}
}

// replays are those that were sent.
func (t *teller) replays() []*tiebackv1.Resolution { return t.sent }

// tell takes a result; one call at a time.
func (t *teller) tell(r Result) {
	doc := resultDoc{ID: r.ID, Done: r.Err == nil, Mended: r.Dealt.Mended}
	if r.Dealt.Resolution != nil {
		d := dealingOf(r.Dealt.Resolution)
		doc.Dealing = &d
	}
	if r.Err != nil {
		doc.Error = r.Err.Error()
		t.doc.Failed++
		t.problem(r.Err)
	} else {
		t.doc.Done++
		t.sent = append(t.sent, r.Dealt.Resolution)
		t.say("%s", done(r))
	}
	t.doc.Results = append(t.doc.Results, doc)
}

func done(r Result) string {
	d := r.Dealt.Resolution
	switch {
	case r.Dealt.Mended:
		return fmt.Sprintf("letter %d %s, which was cut off: sent now, run %s", r.ID, request.ResolutionText(d), runOf(d))
	case d.Action == tiebackv1.Action_ACTION_REPLAYED:
		return fmt.Sprintf("letter %d: replayed, run %s", r.ID, runOf(d))
	}
	return fmt.Sprintf("letter %d: discarded", r.ID)
}

// ended takes a replay's end; one call at a time.
func (t *teller) ended(e End) {
	doc := endDoc{At: e.At.UTC(), Closed: e.Closed != nil, Letter: e.Again, How: "given up again: " + e.Dead.GetError()}
	if e.Closed != nil {
		doc.How = request.CloseOutsText(e.Closed.CloseOuts)
	} else {
		doc.How += fmt.Sprintf(" (letter %d)", e.Again)
	}
	i := slices.IndexFunc(t.doc.Results, func(r resultDoc) bool { return r.ID == e.Letter })
	if i >= 0 {
		t.doc.Results[i].End = &doc
	}
	t.say("letter %d ended: %s", e.Letter, doc.How)
}

func (t *teller) say(format string, args ...any) {
	if t.output == "table" {
		fmt.Fprintln(t.cmd.OutOrStdout(), terminal.Line(fmt.Sprintf(format, args...)))
	}
}

// problem tells an error, which makes the command fail.
func (t *teller) problem(err error) {
	t.bad = true
	_ = failed(t.cmd, err) // told now; the exit code comes at the end
}

func (t *teller) end() error {
	if t.output == "json" {
		if err := terminal.JSON(t.cmd.OutOrStdout(), t.doc); err != nil {
			return failed(t.cmd, err)
		}
	} else if n := t.doc.Done + t.doc.Failed; n > 1 {
		t.say("%d done, %d not.", t.doc.Done, t.doc.Failed)
	}
	if t.bad {
		return ErrFailed
	}
	return nil
}

// runOf is the run of a replay.
func runOf(d *tiebackv1.Resolution) string {
	return d.Subject[strings.LastIndexByte(d.Subject, '.')+1:]
}
