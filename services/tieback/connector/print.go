package connector

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tieback/tieback/pkg/connector/conformance"
)

// printer prints the results: each when its case has ended, and the report at the end.
type printer interface {
	result(conformance.Result)
	report(conformance.Report) error
}

func printerOf(format string, w io.Writer) (printer, error) {
	switch format {
	case "table":
		return table{w}, nil
	case "json":
		return document{w}, nil
	}
	return nil, fmt.Errorf("-o %s: must be table or json", format)
}

// table prints a line for each case, wide enough for the longest name.
//
//	the same key twice                             passed      12ms
//	cents                                          FAILED      31ms
//	    a commitment of 0.1 + 0.2: line 1 of 0.1 was booked as …
//	    In a real ledger: The books are a cent off here and there, …
type table struct{ w io.Writer }

func (t table) result(r conformance.Result) {
	width := 0
	for _, c := range conformance.Cases() {
		width = max(width, len(c.Name))
	}
	line := fmt.Sprintf("%-*s  %-8s  %7s", width, r.Case.Name, r.Outcome, r.Took.Round(time.Millisecond))
	if r.Outcome == conformance.LeftOut {
		line = fmt.Sprintf("%-*s  %-8s  %s", width, r.Case.Name, r.Outcome, r.Why)
	}
	fmt.Fprintln(t.w, line)
	if r.Outcome == conformance.Failed {
		fmt.Fprintf(t.w, "    %s\n    In a real ledger: %s\n", strings.ReplaceAll(r.Why, "\n", "\n    "), r.Case.Ledger)
	}
}

func (t table) report(r conformance.Report) error {
	_, err := fmt.Fprintf(t.w, "%s %s\n%s\n", r.ERP, r.Version, r.Summary())
	return err
}

// document prints one JSON object at the end.
type document struct{ w io.Writer }

type caseJSON struct {
	Name     string `json:"name"`
	Protects string `json:"protects"`
	Outcome  string `json:"outcome"` // passed, failed, left out
	Why      string `json:"why,omitempty"`
	Ledger   string `json:"in_a_real_ledger,omitempty"` // of a failed case
	Millis   int64  `json:"ms"`
}

type reportJSON struct {
	ERP     string     `json:"erp"`
	Version string     `json:"version"`
	OK      bool       `json:"ok"`
	Summary string     `json:"summary"`
	Cases   []caseJSON `json:"cases"`
}

func (document) result(conformance.Result) {}

func (d document) report(r conformance.Report) error {
	out := reportJSON{ERP: r.ERP, Version: r.Version, OK: r.OK(), Summary: r.Summary(), Cases: []caseJSON{}}
	for _, x := range r.Results {
		c := caseJSON{Name: x.Case.Name, Protects: x.Case.Protects, Outcome: strings.ToLower(x.Outcome.String()), Why: x.Why, Millis: x.Took.Milliseconds()}
		if x.Outcome == conformance.Failed {
			c.Ledger = x.Case.Ledger
		}
		out.Cases = append(out.Cases, c)
	}
	e := json.NewEncoder(d.w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}
