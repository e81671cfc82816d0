package main

import (
	"strings"
	"testing"
)

// Help for what does not exist was exit code 0.
func TestHelpForNoCommand(t *testing.T) {
	for _, c := range []struct {
		line string
		code int
		says string
	}{
		{"help", 0, ""},
		{"help trace", 0, ""},
		{"help dead show", 0, ""},
		{"help completion bash", 0, ""},
		{"help nosuch", 2, `there is no command "nosuch": tieback help lists all`},
		{"help dead nosuch", 2, `there is no command "dead nosuch": tieback help dead lists all`},
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
