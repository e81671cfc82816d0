// Package completion completes command lines for the shell: companies, requests and dead letters from the operator API of a
// running process, companies from the companies file otherwise, and the values of flags. It offers nothing that takes longer
// than 2 s to find out.
package completion

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tieback/tieback/pkg/catalogue"
	"github.com/tieback/tieback/pkg/company"
	"github.com/tieback/tieback/pkg/request"
	"github.com/tieback/tieback/pkg/settings"
	operatorv1 "github.com/tieback/tieback/proto/tieback/operator/v1"
	"github.com/tieback/tieback/services/tieback/internal/connect"
	"github.com/tieback/tieback/services/tieback/internal/terminal"
)

type source = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective)

// Into adds completion to root and the commands below it, by the names of their flags.
func Into(root *cobra.Command) {
	for name, words := range map[string]source{
		"company": companies, "output": fixed("table", "json"), "category": fixed(categories()...), "type": types, "cause": fixed(request.Causes...), "state": fixed("attention", "failed", "open", "succeeded", "ignored"),
	} {
		if root.Flags().Lookup(name) != nil {
			_ = root.RegisterFlagCompletionFunc(name, words) // it fails only if there is one already
		}
	}
	if parent := root.Parent(); parent != nil && parent.Name() == "dead" && slices.Contains([]string{"show", "replay", "discard", "edit"}, root.Name()) {
		root.ValidArgsFunction = deadLetters
	}
	if root.Name() == "trace" {
		root.ValidArgsFunction = requests
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

// companies completes the ids of the companies that a running process serves, or of those in the companies file, with their names.
func companies(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var out []string
	ask(cmd, func(ctx context.Context, c *connect.Client) error {
		all, err := c.ListCompanies(ctx, &operatorv1.ListCompaniesRequest{})
		for _, c := range all.GetCompanies() {
			if c.Served {
				out = append(out, fmt.Sprintf("%d\t%s", c.Id, c.Name))
			}
		}
		return err
	})
	if s, err := settings.Load(os.Getenv); out == nil && err == nil {
		all, _, _ := company.Load(s.Companies) // no company if it can't be read
		for id, c := range all {
			out = append(out, fmt.Sprintf("%d\t%s", id, c.Name))
		}
	}
	slices.Sort(out)
	return out, cobra.ShellCompDirectiveNoFileComp
}

// timeout limits how long a completion takes.
const timeout = 2 * time.Second

// ask calls f with a client of a running process. Errors are ignored, as nothing is offered then.
func ask(cmd *cobra.Command, f func(context.Context, *connect.Client) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), timeout)
	defer cancel()
	c, err := connect.Dial(ctx, connect.Options{Name: "completion", Running: true})
	if err != nil {
		return
	}
	defer c.Close()
	_ = f(ctx, c)
}

// requests completes the ids of requests: those that need attention and failed first.
func requests(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	var out []string
	if len(args) == 0 {
		ask(cmd, func(ctx context.Context, c *connect.Client) error {
			ask := &operatorv1.ListRequestsRequest{PageSize: maxOffered}
			if len(begun) >= 4 { // a search finds the beginnings of ids, among others, from four digits on
				ask.Text = begun
			}
			for range maxPages {
				page, err := c.ListRequests(ctx, ask)
				for _, r := range page.GetRequests() {
					if id := fmt.Sprint(r.RequestId); len(out) < maxOffered && strings.HasPrefix(id, begun) {
						out = append(out, fmt.Sprintf("%s\t%s", id, terminal.Line(fmt.Sprintf("%s, %s %s", r.State, r.Type, r.Record))))
					}
				}
				if ask.PageToken = page.GetNextPageToken(); err != nil || ask.PageToken == "" || len(out) == maxOffered {
					return err
				}
			}
			return nil
		})
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// deadLetters completes the ids of the newest unresolved dead letters, with their types and causes.
func deadLetters(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var out []string
	if len(args) == 0 || cmd.Name() == "replay" || cmd.Name() == "discard" {
		ask(cmd, func(ctx context.Context, c *connect.Client) error {
			all, err := c.ListDeadLetters(ctx, &operatorv1.ListDeadLettersRequest{PageSize: maxOffered, Filter: &operatorv1.DeadLetterFilter{Since: timestamppb.New(time.Now().Add(-maxAge))}})
			for _, l := range slices.Backward(all.GetDeadLetters()) {
				if id := fmt.Sprint(l.Id); !slices.Contains(args, id) {
					out = append(out, fmt.Sprintf("%s\t%s", id, terminal.Line(fmt.Sprintf("%s, %s, request %d", l.Request.GetType(), l.Cause, l.Request.GetRequestId()))))
				}
			}
			return err
		})
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// Dead letters are offered if they are younger than maxAge; requests and dead letters at most maxOffered.
const (
	maxAge     = 7 * 24 * time.Hour
	maxOffered = 50
	maxPages   = 20 // of maxOffered requests that are looked at
)
