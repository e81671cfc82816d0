package main

import (
	"strings"
	"testing"
)

// Help for an unknown command once exited with 0.
func TestHelpForUnknownCommand(t *testing.T) {
	for _, c := range []struct {
		line string
		code int
		says string
	}{
		{"help", 0, ""},
		{"help trace", 0, ""},
		{"help dead show", 0, ""},
		{"help completion bash", 0, ""},
		{"help nosuch", 2, `unknown command "nosuch": tieback help lists the commands`},
		{"help dead nosuch", 2, `unknown command "dead nosuch": tieback help dead lists the commands`},
		{"nosuch", 2, "nosuch"},
	} {
		var out, errs strings.Builder
		cmd := root()
		cmd.SetOut(&out)
		cmd.SetErr(&errs)
		cmd.SetArgs(strings.Fields(c.line))
		code := codeOf(&errs, cmd.ExecuteContext(t.Context()))
		if code != c.code || !strings.Contains(errs.String(), c.says) || code == 0 && out.Len() == 0 {
			t.Errorf("%q: exit %d, want %d and %q\n%s%s", c.line, code, c.code, c.says, out.String(), errs.String())
		}
	}
}
