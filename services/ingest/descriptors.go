//go:build unix

package ingest

import "golang.org/x/sys/unix"

// descriptors is how many the process may have open.
func descriptors() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return maxConnections * 2
	}
	return limit.Cur
}
