package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// print writes a line for the seed and a line for each failure.
func (v *verdict) print(out io.Writer) {
	who, longest := v.longest()
	fmt.Fprintf(out, "seed %d, %d node(s): %s, %d events, %d of them under fire, in %.0f s (%.0f s after the heal), %d faults, %d lost, %d doubled, %d stuck, %d wrong, longest recovery %.1f s%s\n",
		v.seed, v.nodes, map[bool]string{true: "ok", false: "FAILED"}[v.ok()], v.events, v.underFire, v.took.Seconds(), v.healed.Seconds(), v.sum(),
		len(v.lost), len(v.doubled), len(v.stuck), len(v.wrong), longest.Seconds(), who)
	v.details(out)
	if !v.ok() {
		for _, f := range v.plan {
			fmt.Fprintf(out, "    %s\n", f)
		}
	}
}

// details writes a line for each failure.
func (v *verdict) details(out io.Writer) {
	for _, kind := range []struct {
		name  string
		lines []string
	}{{"lost", v.lost}, {"doubled", v.doubled}, {"stuck", v.stuck}, {"wrong", v.wrong}, {"ended by itself", v.crashes}, {"note", v.trouble}} {
		for _, line := range kind.lines {
			fmt.Fprintf(out, "  %s: %s\n", kind.name, line)
		}
	}
}

func (v *verdict) sum() int {
	n := 0
	for _, c := range v.faults {
		n += c
	}
	return n
}

func (v *verdict) longest() (who string, d time.Duration) {
	for name, took := range v.recovery {
		if took > d {
			who, d = " ("+name+")", took
		}
	}
	return who, d
}

// total is the sum of a run.
type total struct {
	verdicts []*verdict
	failed   []uint64
	began    time.Time
}

func (t *total) add(v *verdict) {
	t.verdicts = append(t.verdicts, v)
	if !v.ok() {
		t.failed = append(t.failed, v.seed)
	}
}

func (t *total) print(out io.Writer) {
	sum := &verdict{faults: map[string]int{}, recovery: map[string]time.Duration{}}
	nodes := map[int]int{}
	for _, v := range t.verdicts {
		nodes[v.nodes]++
		sum.events += v.events
		sum.underFire += v.underFire
		sum.calls += v.calls
		sum.spent += v.spent
		sum.records += v.records
		sum.crashes = append(sum.crashes, v.crashes...)
		sum.recoveries += v.recoveries
		sum.lost, sum.doubled, sum.stuck, sum.wrong = append(sum.lost, v.lost...), append(sum.doubled, v.doubled...), append(sum.stuck, v.stuck...), append(sum.wrong, v.wrong...)
		for k, n := range v.faults {
			sum.faults[k] += n
		}
		for name, d := range v.recovery {
			sum.recovery[name] = max(sum.recovery[name], d)
		}
	}
	fmt.Fprintln(out, "\nfaults survived")
	for _, k := range slices.SortedFunc(maps.Keys(sum.faults), func(a, b string) int { return cmp.Or(sum.faults[b]-sum.faults[a], strings.Compare(a, b)) }) {
		fmt.Fprintf(out, "  %5d  %s\n", sum.faults[k], k)
	}
	fmt.Fprintf(out, "longest recovery, of %d\n", sum.recoveries)
	for _, name := range slices.SortedFunc(maps.Keys(sum.recovery), func(a, b string) int { return cmp.Compare(sum.recovery[b], sum.recovery[a]) }) {
		fmt.Fprintf(out, "  %5.1f s  %s\n", sum.recovery[name].Seconds(), name)
	}
	_, longest := sum.longest()
	took := time.Since(t.began)
	fmt.Fprintf(out, "%s: %d seeds (%d with one broker node, %d with three), %d faults, %d events (%.1f/s), %d of them under fire, %d records compared, %d Procore calls of which %d answered 429, %d processes ended by themselves, %d lost, %d doubled, %d stuck, %d wrong, longest recovery %.1f s, in %v\n",
		map[bool]string{true: "ok", false: "failed"}[len(t.failed) == 0], len(t.verdicts), nodes[1], nodes[3], sum.sum(), sum.events, float64(sum.events)/took.Seconds(), sum.underFire,
		sum.records, sum.calls, sum.spent, len(sum.crashes), len(sum.lost), len(sum.doubled), len(sum.stuck), len(sum.wrong), longest.Seconds(), took.Round(time.Second))
}
