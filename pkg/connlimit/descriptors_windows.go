package connlimit

import "math"

// descriptors returns the number of sockets that the process may open, which Windows does not limit.
func descriptors() uint64 { return math.MaxInt32 }
