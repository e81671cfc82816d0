package broker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

func TestMain(m *testing.M) { bustest.VerifyNoLeaks(m) }

// Two servers would corrupt one directory.
func TestOnlyOneBrokerUsesADirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "jetstream")
	first, err := Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := Start(dir); err == nil || !strings.Contains(err.Error(), "stop it first") {
		second.Close()
		t.Errorf("a second broker: %v", err)
	}
	first.Close()
	again, err := Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// The server's warnings reach the log, truncated and sampled.
func TestWarningsAreLogged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	core, logged := observer.New(zapcore.DebugLevel)
	run := func(use func(*Server)) {
		t.Helper()
		srv, err := StartLogging(dir, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Close()
		use(srv)
	}
	run(func(srv *Server) {
		b, err := bus.Connect(t.Context(), bus.Options{InProcess: srv.InProcess(), Log: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		s := bus.For(bus.Dead, "create_vendor", 7, 1)
		if err := b.PublishOnce(t.Context(), s, &tiebackv1.DeadLetter{}); err != nil {
			t.Fatal(err)
		}
	})
	if n := logged.Len(); n > 0 {
		t.Errorf("an intact store logs: %v", logged.All())
	}
	state := filepath.Join(dir, "jetstream", "$G", "streams", bus.Dead.Stream(), "msgs", "index.db")
	if err := os.WriteFile(state, []byte(strings.Repeat("broken ", 20)), 0o600); err != nil {
		t.Fatal(err)
	}
	run(func(*Server) {})
	some := logged.FilterField(zap.String("text", "Filestore [TIEBACK_DEAD] Stream state checksum did not match"))
	if some.Len() != 1 || some.All()[0].Level != zapcore.WarnLevel {
		t.Errorf("the log is %v", logged.All())
	}
}
