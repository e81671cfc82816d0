package setup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Of many concurrent calls one creates the file, completely, and no temporary file is left.
func TestOnlyOneCallCreatesAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "7.webhook-tokens")
	texts := strings.SplitAfter(strings.Repeat("first-token\nother-token\nthird-token\n", 5), "\n")[:15]
	errs := make([]error, len(texts))
	var all sync.WaitGroup
	for i, text := range texts {
		all.Go(func() { errs[i] = createFile(path, []byte(text)) })
	}
	all.Wait()
	won := -1
	for i, err := range errs {
		switch {
		case err == nil && won < 0:
			won = i
		case !errors.Is(err, fs.ErrExist):
			t.Fatalf("a second one, or another error: %v", err)
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil || won < 0 || string(raw) != texts[won] {
		t.Errorf("the file has %q, %v", raw, err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
}
