package dead

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// errPatch is returned if a stored difference does not apply to the message.
var errPatch = errors.New("the stored difference does not apply to the message")

var hunk = regexp.MustCompile(`^@@ -(\d+)`)

// patch applies a unified diff of whole lines. It is strict: before must be the text that the difference was made from.
// (ApplyUnified of the diff library fails on some output of its Unified.)
func patch(before, difference string) (string, error) {
	old, at := strings.SplitAfter(before, "\n"), 0
	var out strings.Builder
	if i := strings.Index(difference, "\n@@"); i >= 0 {
		difference = difference[i+1:] // the head names the files
	}
	for _, line := range strings.SplitAfter(difference, "\n") {
		switch {
		case line == "":
		case line[0] == '@':
			m := hunk.FindStringSubmatch(line)
			if m == nil {
				return "", errPatch
			}
			from, err := strconv.Atoi(m[1])
			if err != nil || from-1 < at || from-1 > len(old) {
				return "", errPatch
			}
			out.WriteString(strings.Join(old[at:from-1], ""))
			at = from - 1
		case line[0] == '+':
			out.WriteString(line[1:])
		case at >= len(old) || old[at] != line[1:]:
			return "", errPatch
		default:
			if line[0] == ' ' {
				out.WriteString(line[1:])
			}
			at++
		}
	}
	return out.String() + strings.Join(old[at:], ""), nil
}
