//go:build !unix

package connlimit

import "math"

// descriptors is how many the process may have open: where there is no such limit, enough.
func descriptors() uint64 { return math.MaxInt32 }
