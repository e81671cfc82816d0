package demo

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/services/sandbox/scenario"
	"github.com/tieback/tieback/services/tieback/run/local"
)

// progress prints the number of finished events: five times per second in one line on a terminal, otherwise every five seconds.
func (s *demo) progress(ctx context.Context, play *scenario.Scenario) {
	live := s.out == os.Stdout && term.IsTerminal(int(os.Stdout.Fd()))
	every, format := 5*time.Second, "%s\n"
	if live {
		every, format = 200*time.Millisecond, "\r\x1b[K%s"
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if live {
				fmt.Fprint(s.out, "\r\x1b[K")
			}
			return
		case <-tick.C:
		}
		rows := play.Report().Events
		closed := 0
		for _, r := range rows {
			if !r.Closed.IsZero() {
				closed++
			}
		}
		fmt.Fprintf(s.out, format, fmt.Sprintf("%d events, %d closed, %d Procore calls", len(rows), closed, s.sandbox.TotalCalls()))
	}
}

// line is a row of the table: the events of one type.
type line struct {
	category, name              string
	count, closed, failed, dead int
	took                        []time.Duration
	calls                       int
}

func (l *line) add(r scenario.Event, calls int) {
	l.count++
	l.calls += calls
	if r.DeadLettered {
		l.dead++
	}
	if r.Closed.IsZero() {
		return
	}
	l.closed++
	l.took = append(l.took, r.Took())
	if r.Outcome == "failed" && !r.DeadLettered {
		l.failed++
	}
}

func (l *line) quantile(q float64) string {
	if len(l.took) == 0 {
		return "-"
	}
	slices.Sort(l.took)
	return l.took[int(q*float64(len(l.took)-1))].Round(time.Millisecond).String()
}

func (s *demo) lines(rows []scenario.Event) []*line {
	byType := map[string]*line{}
	for _, r := range rows {
		if byType[r.Type] == nil {
			byType[r.Type] = &line{category: r.Category, name: r.Type}
		}
		byType[r.Type].add(r, s.calls.of(r.RequestID))
	}
	var lines []*line
	for _, l := range byType {
		lines = append(lines, l)
	}
	order := func(c string) int {
		if i := slices.Index(catalogue.Categories, catalogue.Category(c)); i >= 0 {
			return i
		}
		return len(catalogue.Categories)
	}
	slices.SortFunc(lines, func(a, b *line) int {
		return cmp.Or(cmp.Compare(order(a.category), order(b.category)), cmp.Compare(a.name, b.name))
	})
	return lines
}

// report prints the report and reports whether all events ended as they should.
func (s *demo) report(ctx context.Context, r scenario.Report) (bool, error) {
	c, err := CompareBooks(ctx, s.driver, local.CompanyID, r.Events, s.sandbox)
	if err != nil {
		return false, err
	}
	lines := s.lines(r.Events)
	own := s.table(lines)
	total := s.sandbox.TotalCalls()
	fmt.Fprintf(s.out, "\nThe table counts the Procore calls that were made for one event alone. %d more calls closed several events, fetched tokens or were retries.\n", total-int64(own))
	for _, row := range r.Lost {
		fmt.Fprintf(s.out, "lost: request %d, %s, made at %s\n", row.RequestID, row.Type, row.Clicked.Format(time.TimeOnly))
	}
	for _, row := range r.Wrong {
		fmt.Fprintf(s.out, "wrong: request %d, %s: expected %s, got %s %s %s\n", row.RequestID, row.Type, row.Expected,
			cmp.Or(row.Outcome, "no status"), strings.Join(row.Messages, " "), strings.Join(row.TooEarly, " "))
	}
	for _, d := range c.Doubled {
		fmt.Fprintf(s.out, "doubled: %s\n", d)
	}
	for _, d := range c.Differ {
		fmt.Fprintf(s.out, "differs: %s\n", d)
	}
	violations := s.sandbox.Violations()
	for _, v := range violations {
		fmt.Fprintf(s.out, "not as Procore publishes: %s\n", v)
	}
	for _, why := range r.Skipped {
		fmt.Fprintf(s.out, "not tested: %s\n", why)
	}
	closed, dead, types := 0, 0, 0
	for _, l := range lines {
		closed, dead = closed+l.closed, dead+l.dead
		if _, known := catalogue.Lookup(l.name); known {
			types++
		}
	}
	fmt.Fprintf(s.out, "Compared %d records and %d amounts of the ERP's books with Procore's exports: %d differences.\n", c.Records, c.Amounts, len(c.Differ))
	if !s.Keep {
		fmt.Fprintln(s.out, "To look at these events in the console: make run KEEP=1")
	}
	ok := len(r.Lost)+len(r.Wrong)+len(r.Skipped)+len(c.Doubled)+len(c.Differ)+len(violations) == 0 && types == len(catalogue.Table)
	fmt.Fprintf(s.out, "%s: %d events, %d event types, %d closed, %d lost, %d doubled, %d dead-lettered, %d Procore calls\n",
		map[bool]string{true: "ok", false: "failed"}[ok], len(r.Events), types, closed, len(r.Lost), len(c.Doubled), dead, total)
	return ok, nil
}

// table prints the lines and returns the sum of their calls.
func (s *demo) table(lines []*line) int {
	own := 0
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\ncategory\tevent type\tcount\tclosed\tfailed on purpose\tdead-lettered\tp50\tp95\tProcore calls")
	for _, l := range lines {
		own += l.calls
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%d\n", l.category, l.name, l.count, l.closed, l.failed, l.dead, l.quantile(0.5), l.quantile(0.95), l.calls)
	}
	_ = w.Flush() // out is the terminal; an error could not be shown
	return own
}
