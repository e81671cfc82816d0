// Package localfile has the operations on files that differ between operating systems: locks, the durability of names, owners,
// free space.
package localfile

import "os"

// Lock tries to lock f without waiting: exclusively, or shared with other shared locks. It returns false if another file
// descriptor, of this process or of another one, has a lock that excludes it. A lock ends when f is closed, or with the process.
// An error means that the file system does not support locks.
func Lock(f *os.File, exclusive bool) (locked bool, err error) { return lock(f, exclusive) }

// Share changes the exclusive lock of f to a shared one.
func Share(f *os.File) error { return share(f) }

// SyncDir makes the names in a directory durable, after a file in it was created or renamed. On Windows the file system does so
// by itself.
func SyncDir(path string) error { return syncDir(path) }

// SetOwner gives f the owner and group of the file at path. On Windows it does nothing.
func SetOwner(f *os.File, path string) error { return setOwner(f, path) }

// Free returns the number of bytes that this user can still write to the file system of dir.
func Free(dir string) (uint64, error) { return free(dir) }
