package dead

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/services/tieback/command"
)

// filter has the flags that select dead letters.
type filter struct {
	company                                               int64
	category, eventType, stage, cause, since, until, text string
	cmd                                                   *cobra.Command
}

// names are the names of the filter's flags.
var names = []string{"company", "category", "type", "stage", "cause", "since", "until", "contains"}

func (f *filter) flags(cmd *cobra.Command) {
	f.cmd = cmd
	cmd.Flags().Int64Var(&f.company, "company", 0, "only of this company, by its id in Procore")
	cmd.Flags().StringVar(&f.category, "category", "", "only of this category: "+strings.Join(categories(), ", "))
	cmd.Flags().StringVar(&f.eventType, "type", "", "only of this event type; _ if it is not known")
	cmd.Flags().StringVar(&f.stage, "stage", "", "only of this stage: "+strings.Join(stages(), ", "))
	cmd.Flags().StringVar(&f.cause, "cause", "", "only of this cause: "+strings.Join(request.Causes, ", "))
	cmd.Flags().StringVar(&f.since, "since", "", "only from this time on: a time (2026-11-25T08:00:00Z), or how long ago (2h)")
	cmd.Flags().StringVar(&f.until, "until", "", "only up to this time, likewise; 0s is now")
	cmd.Flags().StringVar(&f.text, "contains", "", "only with this text in the error, the user message or the message")
}

func categories() []string {
	var out []string
	for _, c := range catalogue.Categories {
		out = append(out, string(c))
	}
	return append(out, catalogue.Unknown)
}

func stages() []string {
	var out []string
	for _, c := range catalogue.Categories {
		out = append(out, string(c))
	}
	return append(append([]string{"fetcher"}, out...), "status-reporter", request.DeadlineStage, catalogue.Unknown)
}

// given reports whether any flag of the filter was given.
func (f *filter) given() bool {
	return slices.ContainsFunc(names, f.cmd.Flags().Changed)
}

// read checks the flags. Durations are relative to now.
func (f *filter) read(now time.Time) (request.Filter, error) {
	out := request.Filter{Company: f.company, Category: catalogue.Category(f.category), Type: f.eventType, Stage: f.stage, Cause: f.cause, Contains: f.text}
	if f.company < 0 || f.company == 0 && f.cmd.Flags().Changed("company") {
		return out, fmt.Errorf("--company %d: must be the company's id in Procore, a positive number", f.company)
	}
	for _, c := range []struct {
		flag, value string
		words       []string
	}{{"category", f.category, categories()}, {"stage", f.stage, stages()}, {"cause", f.cause, request.Causes}} {
		if c.value != "" && !slices.Contains(c.words, c.value) {
			return out, fmt.Errorf("--%s %s: must be one of %s", c.flag, c.value, strings.Join(c.words, ", "))
		}
	}
	if row, known := catalogue.Lookup(f.eventType); known {
		out.Type = row.Name
	} else if f.eventType != "" && f.eventType != catalogue.Unknown {
		return out, fmt.Errorf("--type %s: is not an event type of the catalogue (tieback catalogue prints them)", f.eventType)
	}
	var err error
	for _, t := range []struct {
		flag, value string
		to          *time.Time
	}{{"since", f.since, &out.Since}, {"until", f.until, &out.Until}} {
		if t.value == "" {
			continue
		}
		if *t.to, err = command.Time(t.flag, t.value, now); err != nil {
			return out, err
		}
	}
	return out, nil
}
