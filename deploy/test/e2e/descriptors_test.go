package endtoend

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/services/connectors"
	"github.com/tieback/tieback/services/sandbox"
	"github.com/tieback/tieback/services/tieback/run"
)

// fewDescriptors makes the test binary run `tieback run` with a low limit of file descriptors.
const fewDescriptors = "TIEBACK_TEST_FEW_DESCRIPTORS"

const descriptorLimit = 256

// More connections to its ports than the limit of file descriptors do not end `tieback run`, nor keep valid deliveries out.
// Without the bound on connections the embedded broker had no descriptors for its streams and lost a consumer, and the
// process exited.
func TestHostileConnectionsDoNotEndTheProcess(t *testing.T) {
	t.Parallel()
	const deliveries = 15
	w := newWorld(t, setup{noHooks: true})
	w.must(w.front.Close()) // the child process uses its address
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	admin := l.Addr().String()
	w.must(l.Close())
	var said bytes.Buffer
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), fewDescriptors+"=1", "TIEBACK_DATA="+w.data, "TIEBACK_COMPANIES="+w.file, "TIEBACK_INGEST_ADDR="+w.front.Addr().String(),
		"TIEBACK_ADMIN_ADDR="+admin, "TIEBACK_PROCORE_API_URL="+w.url, "TIEBACK_PROCORE_LOGIN_URL="+w.url, "TIEBACK_LOG_LEVEL=warn")
	cmd.Stdout, cmd.Stderr = &said, &said
	w.must(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		return <-ended
	}
	w.answersWith(admin, "/readyz", http.StatusOK)

	w.hostile(w.front.Addr().String(), 3*descriptorLimit)
	w.hostile(admin, 2*descriptorLimit)
	most, began := 0, time.Now()
	var requests []int64
	for i := range deliveries {
		select {
		case err := <-ended:
			t.Fatalf("it ended after %d deliveries, %v: %v\n%s", i, time.Since(began), err, said.Bytes())
		default:
		}
		id := w.press("create_vendor")
		requests = append(requests, id)
		if status, answer := w.deliver(firstCompany, w.token, shapes["v2.0"](firstCompany, id)); status != http.StatusOK {
			t.Errorf("delivery %d is answered %d %s", i, status, answer)
		}
		open, _ := os.ReadDir(filepath.Join("/proc", fmt.Sprint(cmd.Process.Pid), "fd"))
		most = max(most, len(open))
		time.Sleep(500 * time.Millisecond) // without the bound the process ended within 6 s
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, id := range requests {
		if r, err := w.sandbox.Wait(ctx, id); err != nil || r.Outcome() != sandbox.Success {
			t.Errorf("request %d ended %q: %v", id, r.Outcome(), err)
		}
	}
	w.answersWith(admin, "/readyz", http.StatusOK)
	if err := stop(); err != nil {
		t.Errorf("the process ended with %v\n%s", err, said.Bytes())
	}
	t.Logf("at most %d of %d descriptors were open", most, descriptorLimit)
	if bytes.Contains(said.Bytes(), []byte("too many open files")) {
		t.Errorf("the process had no descriptors left:\n%s", said.Bytes())
	}
}

// runWithFewDescriptors runs `tieback run` and returns its exit code.
func runWithFewDescriptors() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := func() error {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: descriptorLimit, Max: descriptorLimit}); err != nil {
			return err
		}
		p, err := tenant.Load("tieback", os.Getenv, tenant.AllCompanies)
		if err != nil {
			return err
		}
		l, err := net.Listen("tcp", p.Settings.IngestAddr)
		if err != nil {
			return err
		}
		pl, err := run.Open(ctx, p, connectors.Drivers)
		if err != nil {
			return err
		}
		defer pl.Close()
		pl.Drivers["erp"] = pl.Ledger.Opener()
		return pl.Run(ctx, l)
	}()
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		return 1
	}
	return 0
}
