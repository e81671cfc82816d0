// Package completion completes command lines for the shell: companies from the companies file, dead letters from
// the broker, and the values of flags. It offers nothing that takes longer than 2 s to find out.
package completion

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/pkg/settings"
)

type source = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective)

// Into adds completion to root and the commands below it, by the names of their flags.
func Into(root *cobra.Command) {
	for name, words := range map[string]source{
		"company": companies, "output": fixed("table", "json"), "category": fixed(categories()...), "type": types, "cause": fixed(request.Causes...),
	} {
		if root.Flags().Lookup(name) != nil {
			_ = root.RegisterFlagCompletionFunc(name, words) // it fails only if there is one already
		}
	}
	if parent := root.Parent(); parent != nil && parent.Name() == "dead" && slices.Contains([]string{"show", "replay", "discard", "edit"}, root.Name()) {
		root.ValidArgsFunction = deadLetters
	}
	for _, c := range root.Commands() {
		Into(c)
	}
}

func fixed(words ...string) source {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

func categories() []string {
	var out []string
	for _, c := range catalogue.Categories {
		out = append(out, string(c))
	}
	return out
}

func types(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, t := range catalogue.Table {
		out = append(out, t.Name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// companies completes the ids of the companies file, with their names.
func companies(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	s, err := settings.Load(os.Getenv)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, _, err := company.Load(s.Companies)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for id, c := range all {
		out = append(out, fmt.Sprintf("%d\t%s", id, c.Name))
	}
	slices.Sort(out)
	return out, cobra.ShellCompDirectiveNoFileComp
}

// timeout limits how long a completion takes.
const timeout = 2 * time.Second

// deadLetters completes the ids of the newest unresolved dead letters, with their types and causes. It does not open the
// embedded broker.
func deadLetters(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	none := cobra.ShellCompDirectiveNoFileComp
	s, err := settings.Load(os.Getenv)
	if err != nil || s.NATSURL == "" || len(args) > 0 && cmd.Name() != "replay" && cmd.Name() != "discard" {
		return nil, none
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), timeout)
	defer cancel()
	b, err := bus.ConnectReadOnly(ctx, bus.Options{URL: s.NATSURL, NKeyFile: s.NATSNKeyFile, CAFile: s.NATSCAFile, Name: "tieback", Log: zap.NewNop()})
	if err != nil {
		return nil, none
	}
	defer b.Close()
	all, err := request.DeadLetters(ctx, b, request.Filter{Since: time.Now().Add(-maxAge)})
	if err != nil {
		return nil, none
	}
	var out []string
	for _, l := range all[max(0, len(all)-maxOffered):] {
		if id := fmt.Sprint(l.ID); !slices.Contains(args, id) {
			out = append(out, fmt.Sprintf("%s\t%s, %s, request %d", id, strings.ReplaceAll(l.Type, "\t", " "), l.Cause(), l.ErpRequestId))
		}
	}
	return out, none | cobra.ShellCompDirectiveKeepOrder
}

// Dead letters are offered if they are younger than maxAge, at most the newest maxOffered.
const (
	maxAge     = 7 * 24 * time.Hour
	maxOffered = 50
)
