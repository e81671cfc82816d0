package dead

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/aymanbagabas/go-udiff"
)

// An interrupted replay of an edit is resumed from its difference.
func TestDifferenceReproducesEditedText(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // reproducible, not secret
	words := []string{"a", "-- b", "++ c", "@@ -1", "{", " ", "", "- d"}
	text := func() string {
		var b strings.Builder
		for range 1 + random.IntN(20) {
			b.WriteString(words[random.IntN(len(words))] + "\n")
		}
		return b.String()
	}
	for range 5000 {
		before, after := text(), text()
		difference := udiff.Unified("x", "y", before, after)
		if got, err := patch(before, difference); err != nil || got != after {
			t.Fatalf("%q and %q differ by\n%s\nwhich gives %q, %v", before, after, difference, got, err)
		}
	}
}

func TestDifferenceOfOtherTextIsRefused(t *testing.T) {
	difference := udiff.Unified("x", "y", "1\n2\n3\n4\n", "1\n2\n3\n5\n")
	for _, other := range []string{"", "1\n", "1\n2\n3\n6\n", "0\n2\n3\n4\n"} {
		if got, err := patch(other, difference); err == nil {
			t.Errorf("applied to %q it gives %q", other, got)
		}
	}
	if _, err := patch("1\n", fmt.Sprint("@@ ", "nonsense")); err == nil {
		t.Error("nonsense was applied")
	}
}
