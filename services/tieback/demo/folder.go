package demo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tieback/tieback/pkg/settings"
)

// marker is in a folder that a demo made, and that the next one may empty.
const marker = "made-by-tieback-demo"

// Made says whether a demo made the folder: no place for a real company's data.
func Made(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, marker))
	return err == nil
}

// dataFolder gives an empty folder: the sandbox forgets, so the broker and the ERP must too.
func dataFolder() (string, error) {
	dir := settings.DataFolder(os.Getenv)
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("TIEBACK_DATA: %w", err)
	}
	if len(files) > 0 && !Made(dir) {
		return "", fmt.Errorf("TIEBACK_DATA: %s holds something that no demo made; give the demo a folder of its own", dir)
	}
	for _, part := range []string{"jetstream", "ledger"} {
		if err := os.RemoveAll(filepath.Join(dir, part)); err != nil {
			return "", fmt.Errorf("TIEBACK_DATA: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("TIEBACK_DATA: %w", err)
	}
	return dir, os.WriteFile(filepath.Join(dir, marker), nil, 0o600)
}
