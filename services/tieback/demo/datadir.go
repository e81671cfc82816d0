package demo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tieback/tieback/pkg/settings"
)

// marker is the name of a file in a directory that a demo created. The next demo may empty the directory.
const marker = "made-by-tieback-demo"

// Made reports whether a demo created the directory. It must not have a real company's data.
func Made(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, marker))
	return err == nil
}

// dataDir returns a directory without data of the broker and the ERP, as the sandbox starts without data too.
func dataDir() (string, error) {
	dir := settings.DataFolder(os.Getenv)
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("TIEBACK_DATA: %w", err)
	}
	if len(files) > 0 && !Made(dir) {
		return "", fmt.Errorf("TIEBACK_DATA: %s is not empty, and no demo created it: give another directory", dir)
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
