package app

import (
	"math"
	"os"
	"runtime/debug"
	"testing"
	"testing/fstest"
)

const gib = 1 << 30

func files(content map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, text := range content {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return root
}

func TestMemoryLimit(t *testing.T) {
	const meminfo = "MemTotal:       16777216 kB\nMemFree:         1000000 kB\n" // 16 GiB
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"container, v2":              {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "268435456\n", "proc/meminfo": meminfo}, 268435456 / 10 * 9},
		"container, v2, no machine":  {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "268435456\n"}, 268435456 / 10 * 9},
		"container without a limit":  {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n", "proc/meminfo": meminfo}, 8 * gib},
		"systemd service in a slice": {map[string]string{"proc/self/cgroup": "0::/a.slice/b.service\n", "sys/fs/cgroup/a.slice/memory.max": "1000000\n", "sys/fs/cgroup/a.slice/b.service/memory.max": "2000000\n", "proc/meminfo": meminfo}, 900000},
		"container, v1": {map[string]string{
			"proc/self/cgroup": "4:memory:/docker/1cf8\n3:cpuset:/x\n0::/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000000\n", "proc/meminfo": meminfo}, 900000},
		"v1 without a limit":             {map[string]string{"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n", "proc/meminfo": meminfo}, 8 * gib},
		"v1 without a limit, no machine": {map[string]string{"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		"another controller's path":      {map[string]string{"proc/self/cgroup": "3:cpuset:/x\n", "sys/fs/cgroup/x/memory.max": "1000000\n", "proc/meminfo": meminfo}, 8 * gib},
		"not Linux":                      {nil, 0},
	} {
		if got := memoryLimit(files(c.files)); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestTuneGC(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetGCPercent(percent); debug.SetMemoryLimit(limit) })
	container := map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1073741824\n"}
	const ofContainer = gib / 10 * 9
	for name, c := range map[string]struct {
		env     map[string]string
		runtime int64 // the limit that the runtime has set from GOMEMLIMIT
		files   map[string]string
		limit   int64
		percent int
	}{
		"container":                {nil, math.MaxInt64, container, ofContainer, gcPercent},
		"no limit is known":        {nil, math.MaxInt64, nil, math.MaxInt64, 100},
		"GOMEMLIMIT is kept":       {map[string]string{"GOMEMLIMIT": "2GiB"}, 2 * gib, container, 2 * gib, gcPercent},
		"GOMEMLIMIT=off is kept":   {map[string]string{"GOMEMLIMIT": "off"}, math.MaxInt64, container, math.MaxInt64, 100},
		"GOGC is kept":             {map[string]string{"GOGC": "100"}, math.MaxInt64, container, ofContainer, 100},
		"GOGC and GOMEMLIMIT kept": {map[string]string{"GOGC": "100", "GOMEMLIMIT": "2GiB"}, 2 * gib, container, 2 * gib, 100},
	} {
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(c.runtime)
		tuneGC(func(name string) string { return c.env[name] }, files(c.files))
		if got := debug.SetMemoryLimit(-1); got != c.limit {
			t.Errorf("%s: limit %d, want %d", name, got, c.limit)
		}
		if got := debug.SetGCPercent(100); got != c.percent {
			t.Errorf("%s: GOGC %d, want %d", name, got, c.percent)
		}
	}
}

// New tunes the process: it has the limit of this machine or container.
func TestNewTunesGC(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(math.MaxInt64)
	t.Cleanup(func() { debug.SetGCPercent(percent); debug.SetMemoryLimit(limit) })
	if _, err := New("test", func(string) string { return "" }); err != nil {
		t.Fatal(err)
	}
	wantLimit, want := memoryLimit(os.DirFS("/")), gcPercent
	if wantLimit == 0 { // not Linux
		wantLimit, want = math.MaxInt64, 100
	}
	if got := debug.SetGCPercent(100); got != want || debug.SetMemoryLimit(-1) != wantLimit {
		t.Errorf("GOGC %d, limit %d, want %d and %d", got, debug.SetMemoryLimit(-1), want, wantLimit)
	}
}
