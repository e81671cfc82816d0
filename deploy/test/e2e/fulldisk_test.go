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
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/broker"
	"github.com/tieback/tieback/services/tieback/run"
)

// onSmallDisk makes the test binary the process that has a disk of its own. How it fills up:
//
//	mount  a tmpfs, in a mount namespace of this process, and a user namespace where it is not root's
//	limit  the limit of the size of files (RLIMIT_FSIZE), where the system forbids such namespaces. It makes every
//	       write fail, as a full disk does, but not the creation of files and folders
const onSmallDisk = "TIEBACK_TEST_SMALL_DISK"

// errNoMount is the exit code of a child that may not mount.
const errNoMount = 77

// The disk of `tieback run` fills up under load, and room is made later. It recovers by itself: what was acknowledged
// is booked once, and what was refused is taken when Procore sends it again. Before, a stream whose write had failed
// once took nothing until the process was restarted, and /healthz said ok.
func TestFullDiskIsSurvived(t *testing.T) {
	if how := os.Getenv(onSmallDisk); how != "" {
		surviveFullDisk(t, how)
		return
	}
	t.Parallel()
	said, err := again(t, "^TestFullDiskIsSurvived$", "mount")
	var code *exec.ExitError
	if err != nil && (!errors.As(err, &code) || code.ExitCode() == errNoMount) {
		t.Logf("no mount of its own, so by a limit of file sizes: %v %s", err, said)
		said, err = again(t, "^TestFullDiskIsSurvived$", "limit")
	}
	if err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}

// again runs a test in a process of its own.
func again(t *testing.T, test, how string) ([]byte, error) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run="+test, "-test.timeout=4m")
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
	pl, err := run.Open(t.Context(), p)
	w.must(err)
	defer pl.Close()
	p.Drivers["erp"] = pl.Ledger.Opener()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pl.Run(ctx, w.front.open()) }()

	requests := w.vendors(10)
	w.allEndWell(requests)
	requests = append(requests, w.vendors(20)...) // some are on their way now
	empty := fill()
	requests = append(requests, w.vendors(20)...)
	w.answersWith(admin, "/readyz", http.StatusServiceUnavailable)
	w.answersWith(admin, "/healthz", http.StatusOK) // it needs no restart
	empty()
	w.answersWith(admin, "/readyz", http.StatusOK)
	requests = append(requests, w.vendors(5)...)
	w.allEndWell(requests)

	select {
	case err := <-ended:
		t.Fatalf("it ended by itself: %v", err)
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

// smallDisk puts the data on a disk that fill fills, until the function it gives is called.
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

// allEndWell waits for requests in Procore.
func (w *world) allEndWell(requests []int64) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 2*time.Minute)
	defer cancel()
	for _, id := range requests {
		if r, err := w.sandbox.Wait(ctx, id); err != nil || r.Outcome() != sandbox.Success {
			w.Errorf("request %d ended %q, want success: %v %+v", id, r.Outcome(), err, r.Details)
		}
	}
}

// answersWith waits for an answer of the admin port.
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

// A broker that fails again after each restart, although the disk takes writes, ends its process: a supervisor
// starts it anew, and /healthz does not say ok for ever. Here no file may be larger than 8 MiB, and a message of
// that size does not fit into one.
func TestBrokerThatDoesNotRecoverEndsItsProcess(t *testing.T) {
	if os.Getenv(onSmallDisk) == "" {
		t.Parallel()
		if said, err := again(t, "^TestBrokerThatDoesNotRecoverEndsItsProcess$", "limit"); err != nil {
			t.Errorf("%v\n%s", err, said)
		}
		return
	}
	const most = 8 << 20
	signal.Ignore(syscall.SIGXFSZ) // so that a write fails instead
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: most, Max: most}); err != nil {
		t.Fatal(err)
	}
	srv, err := broker.Start(filepath.Join(t.TempDir(), "jetstream"))
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	nc, err := nats.Connect("", srv.InProcess(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err == nil {
		_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for ctx.Err() == nil {
			try, done := context.WithTimeout(ctx, time.Second)
			_, _ = js.Publish(try, "s", make([]byte, most)) // refused, each time
			done()
		}
	})
	err = srv.Supervise(ctx, zap.NewNop())
	stop()
	publishing.Wait()
	if err == nil || !strings.Contains(err.Error(), "after 5 restarts") {
		t.Errorf("Supervise ended with %v, want the reason", err)
	}
}
