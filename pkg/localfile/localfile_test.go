package localfile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	try := func(f *os.File, exclusive, want bool) {
		t.Helper()
		if got, err := Lock(f, exclusive); got != want || err != nil {
			t.Errorf("Lock(exclusive %v): %v, %v; want %v", exclusive, got, err, want)
		}
	}
	a, b, c := open(), open(), open()
	try(a, true, true)
	try(b, true, false)
	try(b, false, false)
	if _, err := a.WriteString("locked"); err != nil {
		t.Errorf("write by the owner: %v", err)
	}
	if err := Share(a); err != nil {
		t.Fatal(err)
	}
	try(b, false, true)
	try(c, true, false)
	if _, err := b.WriteString("shared"); err != nil {
		t.Errorf("write with a shared lock: %v", err)
	}
	_, _ = a.Close(), b.Close()
	try(c, true, true)
}

func TestFree(t *testing.T) {
	dir := t.TempDir()
	if n, err := Free(dir); n == 0 || err != nil {
		t.Errorf("Free: %d, %v", n, err)
	}
	if _, err := Free(filepath.Join(dir, "missing")); err == nil {
		t.Error("Free of a missing directory returned no error")
	}
	if err := SyncDir(dir); err != nil {
		t.Error(err)
	}
}
