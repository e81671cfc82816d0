package company

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/tieback/tieback/pkg/localfile"
	"github.com/tieback/tieback/pkg/tokenhash"
)

// WriteFile replaces a file atomically and durably. A new file is readable only by its owner; an existing file keeps its mode. If
// the process runs as root, the file gets the owner of the old file, or the folder's owner if there was no file, so that the
// services can read it.
func WriteFile(path string, raw []byte) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // keep the link
	}
	mode, like := fs.FileMode(0o600), filepath.Dir(path)
	if info, err := os.Stat(path); err == nil {
		mode, like = info.Mode().Perm(), path
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // no effect after the rename
	_, err = tmp.Write(raw)
	err = errors.Join(err, tmp.Chmod(mode), setOwner(tmp, like), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		if errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("%w: %s seems to be a mount of a single file; mount its folder instead", err, path)
		}
		return err
	}
	return localfile.SyncDir(filepath.Dir(path))
}

func setOwner(f *os.File, like string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return localfile.SetOwner(f, like)
}

// WriteWebhookTokenHashes replaces the file of webhook token hashes, as WriteFile does. It creates the folder if necessary.
func WriteWebhookTokenHashes(path string, all tokenhash.Hashes) error {
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

// makeFolder creates a folder with mode 0700 that belongs to the owner of the parent folder.
func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(setOwner(f, filepath.Dir(dir)), f.Close())
}
