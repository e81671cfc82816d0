//go:build unix

package connlimit

import (
	"math"

	"golang.org/x/sys/unix"
)

// descriptors returns the number of file descriptors that the process may open.
func descriptors() uint64 {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return math.MaxInt32
	}
	return files.Cur
}
