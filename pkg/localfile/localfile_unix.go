//go:build unix

package localfile

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// DataSync is a flag of [os.OpenFile]: a write returns after its data is on disk.
const DataSync = syscall.O_DSYNC

func lock(f *os.File, exclusive bool) (bool, error) {
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB) //nolint:gosec // a file descriptor fits
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

func share(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_SH) } //nolint:gosec // likewise

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func setOwner(f *os.File, path string) error {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return f.Chown(int(s.Uid), int(s.Gid))
}

func free(dir string) (uint64, error) {
	var s unix.Statfs_t
	err := unix.Statfs(dir, &s)
	return s.Bavail * uint64(s.Bsize), err //nolint:gosec,unconvert // a block has a positive size, of another type elsewhere
}
