package main

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// diskSize is far more than a seed needs and little enough to be filled in a moment.
const diskSize = "192m"

// disk is a small filesystem in memory. This process lives in a mount namespace of its own (see
// main), so it is gone with it, however it ends.
type disk struct {
	dir   string
	small bool // false where this system lets nobody mount: then it can't be filled
	mu    sync.Mutex
	use   int // fillings under way
}

// newDisk mounts one at dir.
func newDisk(dir string) (*disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=700,size="+diskSize)
	return &disk{dir: dir, small: err == nil}, nil
}

func (d *disk) filler() string { return filepath.Join(d.dir, "filler") }

// fill leaves no byte free until undone.
func (d *disk) fill() (undo func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.use++; d.use == 1 {
		if err := d.write(); err != nil {
			return nil, err
		}
	}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.use--; d.use == 0 {
			_ = os.Remove(d.filler())
		}
	}, nil
}

func (d *disk) write() error {
	f, err := os.Create(d.filler())
	if err != nil {
		return err
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 1 << 12} {
		chunk := make([]byte, size)
		for err == nil {
			_, err = f.Write(chunk)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		err = nil
	}
	return nil
}

func (d *disk) close() {
	if d.small {
		_ = syscall.Unmount(d.dir, syscall.MNT_DETACH)
	}
}
