package bench

import (
	"syscall"
	"time"
)

// cpuSeconds returns the user and system time of this process.
func cpuSeconds() float64 {
	p, err := syscall.GetCurrentProcess()
	if err != nil {
		return 0
	}
	var created, exited, kernel, user syscall.Filetime
	if err := syscall.GetProcessTimes(p, &created, &exited, &kernel, &user); err != nil {
		return 0
	}
	ticks := func(f syscall.Filetime) int64 { return int64(f.HighDateTime)<<32 + int64(f.LowDateTime) } // of 100 ns
	return (time.Duration(ticks(kernel)+ticks(user)) * 100).Seconds()
}

// inMemory returns false: Windows has no file system in memory.
func inMemory(string) bool { return false }
