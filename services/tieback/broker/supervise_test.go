//go:build unix

package broker

import (
	"context"
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
)

// A broker that fails again after each restart, although the disk accepts writes, ends Supervise, so that the process ends and is
// restarted. The test limits files to 8 MiB, in a process of its own, and publishes messages of that size.
func TestSuperviseGivesUpOnBrokerThatDoesNotRecover(t *testing.T) {
	const (
		limited = "TIEBACK_TEST_FILE_LIMIT"
		limit   = 8 << 20
	)
	t.Parallel()
	if os.Getenv(limited) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=4m")
		cmd.Env = append(os.Environ(), limited+"=yes")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	signal.Ignore(syscall.SIGXFSZ) // a write fails instead
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		t.Fatal(err)
	}
	srv, err := Start(filepath.Join(t.TempDir(), "jetstream"))
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
			_, _ = js.Publish(try, "s", make([]byte, limit)) // fails each time
			done()
		}
	})
	err = srv.Supervise(ctx, zap.NewNop())
	stop()
	publishing.Wait()
	if err == nil || !strings.Contains(err.Error(), "after 5 restarts") {
		t.Errorf("Supervise ended with %v, want the number of restarts", err)
	}
}
