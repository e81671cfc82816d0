package company

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tieback/tieback/pkg/webhooks"
)

// WriteFile replaces a file whole or not at all, also if the machine stops meanwhile. A new one is
// readable by its owner alone; one that was there keeps its mode. Root gives what it writes to the file's owner, or
// that of its folder, so that the services can read it.
func WriteFile(path string, raw []byte) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // the link stays one
	}
	mode, like := fs.FileMode(0o600), filepath.Dir(path)
	if info, err := os.Stat(path); err == nil {
		mode, like = info.Mode().Perm(), path
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already where all went well
	_, err = tmp.Write(raw)
	err = errors.Join(err, tmp.Chmod(mode), owned(tmp, like), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		if errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("%w: %s seems to be mounted by itself; mount its folder instead", err, path)
		}
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func owned(f *os.File, like string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return f.Chown(int(s.Uid), int(s.Gid))
	}
	return nil
}

// WriteWebhooks replaces the file of webhook hashes, and makes its folder, like WriteFile.
func WriteWebhooks(path string, all webhooks.Hashes) error {
	raw, err := all.Text()
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := makeFolder(dir); err != nil {
			return err
		}
	}
	return WriteFile(path, raw)
}

// makeFolder makes a folder for its owner alone, who is that of the folder above.
func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(owned(f, filepath.Dir(dir)), f.Close())
}
