package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

const insideEnv = "TIEBACK_CHAOS_INSIDE"

func inside() bool { return os.Getenv(insideEnv) != "" }

// enter runs this program again in a mount namespace of its own, with the right to mount, or without the namespace if the system
// forbids that. The mounts end with the process.
func enter() int {
	signal.Ignore(os.Interrupt) // the inner process gets it too, and cleans up
	code, err := under(&syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Unshareflags: syscall.CLONE_NEWNS})
	if err != nil && os.Getuid() != 0 {
		id := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		gid := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		code, err = under(&syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: id, GidMappings: gid})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos: no mounts of our own here: disks are not filled")
		code, err = under(&syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 2
	}
	return code
}

// under runs this program with attr and returns its exit code.
func under(attr *syscall.SysProcAttr) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = os.Stdin, os.Stdout, os.Stderr, attr
	if err := spawner(cmd.Start); err != nil {
		return 0, err
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(1, exit.ExitCode()), nil
	}
	return 0, err
}
