package dead

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/request"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
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
func (f *filter) read(now time.Time) (*operatorv1.DeadLetterFilter, error) {
	out := &operatorv1.DeadLetterFilter{Contains: f.text}
	if f.company < 0 || f.company == 0 && f.cmd.Flags().Changed("company") {
		return nil, fmt.Errorf("--company %d: must be the company's id in Procore, a positive number", f.company)
	}
	if f.company != 0 {
		out.CompanyIds = []int64{f.company}
	}
	for _, c := range []struct {
		flag, value string
		words       []string
		to          *[]string
	}{{"category", f.category, categories(), &out.Categories}, {"stage", f.stage, stages(), &out.Stages}, {"cause", f.cause, request.Causes, &out.Causes}} {
		if c.value == "" {
			continue
		}
		if !slices.Contains(c.words, c.value) {
			return nil, fmt.Errorf("--%s %s: must be one of %s", c.flag, c.value, strings.Join(c.words, ", "))
		}
		*c.to = []string{c.value}
	}
	switch row, known := catalogue.Lookup(f.eventType); {
	case known:
		out.Types = []string{row.Name}
	case f.eventType == catalogue.Unknown:
		out.Types = []string{f.eventType}
	case f.eventType != "":
		return nil, fmt.Errorf("--type %s: is not an event type of the catalogue (tieback catalogue prints them)", f.eventType)
	}
	for _, t := range []struct {
		flag, value string
		to          **timestamppb.Timestamp
	}{{"since", f.since, &out.Since}, {"until", f.until, &out.Until}} {
		if t.value == "" {
			continue
		}
		at, err := command.Time(t.flag, t.value, now)
		if err != nil {
			return nil, err
		}
		*t.to = timestamppb.New(at)
	}
	return out, nil
}
