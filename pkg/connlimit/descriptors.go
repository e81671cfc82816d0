//go:build unix

package connlimit

import (
	"math"

	"golang.org/x/sys/unix"
)

// descriptors returns how many file descriptors the process may open.
func descriptors() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxInt32
	}
	return limit.Cur
}
