//go:build !unix

package ingest

// descriptors is how many the process may have open: where there is no such limit, enough.
func descriptors() uint64 { return maxConnections * 2 }
