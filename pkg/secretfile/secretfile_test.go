package secretfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tieback/tieback/pkg/secretfile"
)

func TestReadSecret(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, content string) {
		if err := os.WriteFile(at(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("good", "s3cr3t\n")
	write("marked", "\xef\xbb\xbfs3cr3t")
	write("UTF-16", "\xff\xfes\x003\x00")
	write("large", "")
	for name, err := range map[string]error{
		"sparse": os.Truncate(at("large"), 1<<40), "link": os.Symlink(at("good"), at("link")), "pipe": syscall.Mkfifo(at("pipe"), 0o600),
		"zero": os.Symlink("/dev/zero", at("zero")), "terminal": os.Symlink("/dev/null", at("null")),
	} {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]error{
		"good": nil, "link": nil, "marked": secretfile.ErrMarked, "UTF-16": secretfile.ErrMarked, "large": secretfile.ErrTooLarge,
		"pipe": secretfile.ErrIrregular, "zero": secretfile.ErrIrregular, "null": secretfile.ErrIrregular, ".": secretfile.ErrIrregular, "none": fs.ErrNotExist,
	} {
		raw, err := secretfile.ReadSecret(at(name))
		var where *fs.PathError
		if !errors.Is(err, want) || err == nil && string(raw) != "s3cr3t\n" || err != nil && (raw != nil || !errors.As(err, &where)) {
			t.Errorf("%s: %q, %v, want %v", name, raw, err, want)
		}
	}
}

func TestExposed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[fs.FileMode]bool{0o600: false, 0o440: false, 0o644: true, 0o604: true, 0o620: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if secretfile.Exposed(path) != want {
			t.Errorf("%o: exposed %v", mode, !want)
		}
	}
	if secretfile.Exposed(path + "x") {
		t.Error("a missing file is exposed")
	}
}
