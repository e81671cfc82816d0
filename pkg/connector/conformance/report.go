package conformance

import (
	"fmt"
	"time"
)

// Outcome is the outcome of a case.
type Outcome int

// The outcomes; see the package comment.
const (
	Passed Outcome = iota
	Failed
	LeftOut
)

func (o Outcome) String() string { return [...]string{"passed", "FAILED", "left out"}[o] }

// Result is the result of one case.
type Result struct {
	Case    Case
	Outcome Outcome
	Why     string // if it failed or was left out
	Took    time.Duration
}

// Report is the result of a run.
type Report struct {
	ERP, Version string // as the connector names them
	Results      []Result
	// Nothing says why the run proved nothing although no case failed: the connector declares no entity with
	// put, or no case ran. "": the run proved something.
	Nothing string
	// Interrupted says that the run's context ended before all cases ran. The case that was running is not
	// among the results.
	Interrupted bool
}

// Count returns the number of cases with an outcome.
func (r Report) Count(o Outcome) int {
	n := 0
	for _, x := range r.Results {
		if x.Outcome == o {
			n++
		}
	}
	return n
}

// OK reports whether all cases ran, the run proved something and no case failed.
func (r Report) OK() bool { return !r.Interrupted && r.Nothing == "" && r.Count(Failed) == 0 }

// Summary returns the report in one line. It begins with "ok", "failed" or "interrupted".
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
