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

// The help lists each command in a group, except for those about the program itself.
func TestHelpGroupsCommands(t *testing.T) {
	var out strings.Builder
	cmd := root()
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"help"})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(out.String(), "Additional Commands:")
	for _, c := range cmd.Commands() {
		own := c.Name() == "version" || c.Name() == "help" || c.Name() == "completion"
		if own != strings.Contains(rest, "\n  "+c.Name()+" ") || !strings.Contains(out.String(), "\n  "+c.Name()+" ") {
			t.Errorf("%s is in the wrong part of\n%s", c.Name(), out.String())
		}
	}
	for _, group := range []string{"Operate:", "Connect:", "Develop:"} {
		if !strings.Contains(out.String(), "\n"+group+"\n") {
			t.Errorf("no group %s in\n%s", group, out.String())
		}
	}
}

func TestVersion(t *testing.T) {
	if code, out := tieback(t, "version"); code != 0 || !strings.HasPrefix(out, "tieback dev, commit ") {
		t.Errorf("exit %d: %s", code, out)
	}
}
