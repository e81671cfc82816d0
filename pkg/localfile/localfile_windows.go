package localfile

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/windows"
)

// DataSync is a flag of [os.OpenFile]: a write returns after its data is on disk.
const DataSync = os.O_SYNC

// at is the byte that is locked. Windows refuses access to a locked byte, so it is one that no file has.
func at() *windows.Overlapped { return &windows.Overlapped{OffsetHigh: math.MaxInt32} }

func lock(f *os.File, exclusive bool) (bool, error) {
	how := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY)
	if exclusive {
		how |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	err := windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, at())
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}

// share adds a shared lock, which may overlap an exclusive one of the same handle. Of the two, UnlockFileEx ends the exclusive one.
func share(f *os.File) error {
	h := windows.Handle(f.Fd())
	if err := windows.LockFileEx(h, windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at()); err != nil {
		return err
	}
	return windows.UnlockFileEx(h, 0, 1, 0, at())
}

func syncDir(string) error { return nil }

func setOwner(*os.File, string) error { return nil }

func free(dir string) (uint64, error) {
	var n uint64
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	err = windows.GetDiskFreeSpaceEx(name, &n, nil, nil)
	return n, err
}
