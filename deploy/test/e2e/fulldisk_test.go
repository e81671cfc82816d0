package endtoend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/services/connectors"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/run"
)

// onSmallDisk is set in the process that has a disk of its own. Its value says how the disk fills up:
//
//	mount  a tmpfs, in a mount namespace of the process, and in a user namespace unless it is root's
//	limit  a limit of the size of files (RLIMIT_FSIZE), if the system forbids such namespaces. Every write fails, as on
//	       a full disk, but files and folders can still be created
const onSmallDisk = "TIEBACK_TEST_SMALL_DISK"

// errNoMount is the exit code of a process that must not mount.
const errNoMount = 77

// The disk of `tieback run` fills up under load, and space is freed later. The process recovers without a restart: requests
// that were acknowledged are booked once, and refused ones are accepted when Procore sends them again.
func TestFullDiskIsSurvived(t *testing.T) {
	if how := os.Getenv(onSmallDisk); how != "" {
		surviveFullDisk(t, how)
		return
	}
	t.Parallel()
	said, err := rerun(t, "mount")
	var code *exec.ExitError
	if err != nil && (!errors.As(err, &code) || code.ExitCode() == errNoMount) {
		t.Logf("a limit of file sizes instead of a mount: %v %s", err, said)
		said, err = rerun(t, "limit")
	}
	if err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}

// rerun runs the test in a process of its own.
func rerun(t *testing.T, how string) ([]byte, error) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=4m")
	cmd.Env = append(os.Environ(), onSmallDisk+"="+how)
	if how == "mount" {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		if os.Getuid() != 0 {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		}
	}
	return cmd.CombinedOutput()
}

func surviveFullDisk(t *testing.T, how string) {
	w := newWorld(t, setup{})
	fill := w.smallDisk(how)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	admin := l.Addr().String()
	w.must(l.Close())
	p := w.process()
	p.Settings.AdminAddr = admin
	pl, err := run.Open(t.Context(), p, connectors.Drivers)
	w.must(err)
	defer pl.Close()
	p.Drivers["erp"] = pl.Ledger.Opener()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pl.Run(ctx, w.front.open()) }()

	requests := w.vendors(10)
	w.allSucceed(requests)
	requests = append(requests, w.vendors(20)...) // some are in flight
	empty := fill()
	requests = append(requests, w.vendors(20)...)
	w.answersWith(admin, "/readyz", http.StatusServiceUnavailable)
	w.answersWith(admin, "/healthz", http.StatusOK) // it needs no restart
	empty()
	w.answersWith(admin, "/readyz", http.StatusOK)
	requests = append(requests, w.vendors(5)...)
	w.allSucceed(requests)

	select {
	case err := <-ended:
		t.Fatalf("it ended: %v", err)
	default:
	}
	if booked := len(w.sound(pl.Ledger, firstCompany, ledger.Vendor)); booked != len(requests) {
		t.Errorf("%d vendors in the books, want %d", booked, len(requests))
	}
	for _, id := range requests {
		if has, err := pl.Bus.Has(t.Context(), bus.For(bus.Delivery, "", firstCompany, id)); err != nil || !has {
			t.Errorf("the delivery of request %d is gone: %v", id, err)
		}
	}
	stop()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with: %v", err)
	}
}

// smallDisk puts the data on a disk that fill fills until empty is called.
func (w *world) smallDisk(how string) (fill func() (empty func())) {
	if how == "limit" {
		signal.Ignore(syscall.SIGXFSZ) // so that a write fails instead
		return func() func() {
			var before syscall.Rlimit
			w.must(syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
			w.must(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 0, Max: before.Max}))
			return func() { w.must(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before)) }
		}
	}
	err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	if err == nil {
		err = syscall.Mount("tmpfs", w.data, "tmpfs", 0, "mode=700,size=64m")
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(errNoMount)
	}
	w.Cleanup(func() { _ = syscall.Unmount(w.data, syscall.MNT_DETACH) })
	filler := filepath.Join(w.data, "filler")
	return func() func() {
		f, err := os.Create(filler)
		w.must(err)
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			w.Fatal(err)
		}
		_ = f.Close()
		return func() { w.must(os.Remove(filler)) }
	}
}

// allSucceed waits until Procore shows requests as successful.
func (w *world) allSucceed(requests []int64) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 2*time.Minute)
	defer cancel()
	for _, id := range requests {
		if r, err := w.sandbox.Wait(ctx, id); err != nil || r.Outcome() != sandbox.Success {
			w.Errorf("request %d ended %q, want success: %v %+v", id, r.Outcome(), err, r.Details)
		}
	}
}

// answersWith waits until the admin port answers with a status code.
func (w *world) answersWith(addr, path string, code int) {
	w.Helper()
	got := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get("http://" + addr + path)
		if err != nil {
			got = err.Error()
			continue
		}
		said, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if got = resp.Status + " " + string(said); resp.StatusCode == code {
			return
		}
	}
	w.Fatalf("%s answers %s, want %d", path, got, code)
}
