package main

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// diskSize is far more than a seed needs, but can be filled in a moment.
const diskSize = "192m"

// disk is a small file system in memory. It ends with the process, which has a mount namespace of its own (see enter).
type disk struct {
	dir   string
	small bool // false if mounting is forbidden; then it can't be filled
	mu    sync.Mutex
	use   int // faults that keep it full
}

// newDisk mounts a disk at dir.
func newDisk(dir string) (*disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=700,size="+diskSize)
	return &disk{dir: dir, small: err == nil}, nil
}

func (d *disk) filler() string { return filepath.Join(d.dir, "filler") }

// fill fills the disk and returns a function that frees it.
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
