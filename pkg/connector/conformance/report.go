package conformance

import (
	"fmt"
	"time"
)

// Outcome is how a case ended.
type Outcome int

// The outcomes; see the package comment.
const (
	Passed Outcome = iota
	Failed
	LeftOut
)

func (o Outcome) String() string { return [...]string{"passed", "FAILED", "left out"}[o] }

// Result is how one case ended.
type Result struct {
	Case    Case
	Outcome Outcome
	Why     string // of what failed or was left out
	Took    time.Duration
}

// Report is what a run found.
type Report struct {
	ERP, Version string // as the connector names them
	Results      []Result
	// Nothing says why the run proved nothing although nothing failed: the connector declares
	// nothing that it books, or no case ran. "": something was proved.
	Nothing string
	// Interrupted says that the run's context ended before all cases were tried. The one that was
	// under way is not among the results.
	Interrupted bool
}

// Count is how many cases ended so.
func (r Report) Count(o Outcome) int {
	n := 0
	for _, x := range r.Results {
		if x.Outcome == o {
			n++
		}
	}
	return n
}

// OK says that all cases were tried, something was proved and nothing failed.
func (r Report) OK() bool { return !r.Interrupted && r.Nothing == "" && r.Count(Failed) == 0 }

// Summary is the report in one line; it begins with "ok", "failed" or "interrupted".
func (r Report) Summary() string {
	passed, failed, left := r.Count(Passed), r.Count(Failed), r.Count(LeftOut)
	switch {
	case r.Interrupted:
		return fmt.Sprintf("interrupted after %s: %d passed, %d failed, %d left out", cases(len(r.Results)), passed, failed, left)
	case failed > 0:
		return fmt.Sprintf("failed: %s of %d, %d passed, %d left out", cases(failed), len(r.Results), passed, left)
	case r.Nothing != "":
		return "failed: nothing was proved: " + r.Nothing
	}
	return fmt.Sprintf("ok: %s passed, %d left out", cases(passed), left)
}

func cases(n int) string {
	if n == 1 {
		return "1 case"
	}
	return fmt.Sprintf("%d cases", n)
}
