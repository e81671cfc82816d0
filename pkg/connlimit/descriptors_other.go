//go:build !unix

package connlimit

import "math"

// descriptors returns a large number, as the system has no limit that can be read.
func descriptors() uint64 { return math.MaxInt32 }
