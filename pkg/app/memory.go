package app

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// gcPercent is the GOGC of all processes. Go's default of 100 collects a heap of some megabytes many times a second; the time
// that the collector takes is inversely proportional to the percentage. The memory limit lowers it for a process that has little
// memory left.
const gcPercent = 400

// tuneGC sets the soft memory limit and the percentage of the garbage collector. The environment variables GOMEMLIMIT and GOGC,
// which the Go runtime has read, are kept. Without a memory limit the percentage is not changed. root is the file system.
func tuneGC(getenv func(string) string, root fs.FS) {
	if getenv("GOMEMLIMIT") == "" {
		if limit := memoryLimit(root); limit > 0 {
			debug.SetMemoryLimit(limit)
		}
	}
	if getenv("GOGC") == "" && debug.SetMemoryLimit(-1) < math.MaxInt64 {
		debug.SetGCPercent(gcPercent)
	}
}

// memoryLimit returns nine tenths of the memory limit of the process's container, in bytes. A process without such a limit gets
// half of the machine's memory, because other processes run beside it. memoryLimit returns 0 if neither is known.
func memoryLimit(root fs.FS) int64 {
	machine := machineMemory(root)
	container := int64(math.MaxInt64)
	for _, file := range limitFiles(root) {
		raw, err := fs.ReadFile(root, file)
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(string(bytes.TrimSpace(raw)), 10, 64); err == nil && n > 0 { // "max": no limit
			container = min(container, n)
		}
	}
	switch {
	case container < machine || machine == 0 && container < 1<<50: // cgroup v1 has a huge number in place of no limit
		return container / 10 * 9
	default:
		return machine / 2
	}
}

// limitFiles returns the files that may have the limit of the process's control group, or of one that contains it. In a container,
// the group's own files are in the root of the mounted hierarchy.
func limitFiles(root fs.FS) (files []string) {
	raw, _ := fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(raw)) { // hierarchy:controllers:path
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		dir, file := "sys/fs/cgroup", "memory.max"
		switch {
		case fields[1] == "memory": // cgroup v1
			dir, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		case fields[1] != "": // another controller of cgroup v1
			continue
		}
		for group := path.Clean("/" + fields[2]); ; group = path.Dir(group) {
			files = append(files, path.Join(dir, group, file))
			if group == "/" {
				break
			}
		}
	}
	return files
}

// machineMemory returns the memory of the machine in bytes; 0: not known.
func machineMemory(root fs.FS) int64 {
	raw, _ := fs.ReadFile(root, "proc/meminfo")
	var kib int64
	if _, err := fmt.Sscanf(string(raw), "MemTotal: %d kB", &kib); err != nil {
		return 0
	}
	return kib << 10
}
