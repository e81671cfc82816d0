// Package commandtest helps the tests of the commands: settings, an in-process command line, a broker.
// Only tests import it.
package commandtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/app/tenant"
	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/pkg/procore/procoretest"
	"github.com/tieback/tieback/services/connectors"
	"github.com/tieback/tieback/services/console"
	"github.com/tieback/tieback/services/tieback/broker"
	"github.com/tieback/tieback/services/tieback/command"
	"github.com/tieback/tieback/services/tieback/run"
)

// Settings sets the environment for the test: an empty data folder, the embedded broker, an address of Procore that does not
// answer, and these companies, each with the name Acme and the ledger as its ERP.
func Settings(t *testing.T, companies ...int64) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "companies.yaml")
	text := "companies:\n"
	for _, id := range companies {
		text += fmt.Sprintf("  - {id: %d, name: Acme, client_id: c%d, client_secret: s, webhook_tokens: [0123456789abcdef], connector: {driver: ledger}}\n", id, id)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"TIEBACK_DATA": filepath.Join(dir, "data"), "TIEBACK_COMPANIES": file, "TIEBACK_INGEST_ADDR": "127.0.0.1:0", "TIEBACK_NATS_URL": "",
		"TIEBACK_LOG_LEVEL": "error", "TIEBACK_PROCORE_API_URL": "http://127.0.0.1:1", "TIEBACK_PROCORE_LOGIN_URL": "http://127.0.0.1:1",
	} {
		t.Setenv(name, value)
	}
}

// Procore serves a fake Procore that next answers, and sets the environment to use it; see procoretest.Serve.
func Procore(t *testing.T, next http.HandlerFunc) {
	t.Helper()
	url := procoretest.Serve(t, next)
	t.Setenv("TIEBACK_PROCORE_API_URL", url)
	t.Setenv("TIEBACK_PROCORE_LOGIN_URL", url)
}

// Run runs cmd as main does, with the words of line as arguments and an empty standard input. It returns the exit code: 1 for
// command.ErrFailed, 2 for any other error, which it adds to errs.
func Run(ctx context.Context, cmd *cobra.Command, line string) (code int, out, errs string) {
	var stdout, stderr strings.Builder
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetIn(strings.NewReader(""))
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	cmd.SetArgs(strings.Fields(line))
	err := cmd.ExecuteContext(ctx)
	switch {
	case errors.Is(err, command.ErrFailed):
		code = 1
	case err != nil:
		fmt.Fprintln(&stderr, err)
		code = 2
	}
	return code, stdout.String(), stderr.String()
}

// Embedded opens the embedded broker of the settings' data folder. Call leave before a command is run: only one process can have
// the broker.
func Embedded(t *testing.T) (b *bus.Bus, leave func()) {
	t.Helper()
	srv, err := broker.Start(filepath.Join(os.Getenv("TIEBACK_DATA"), "jetstream"))
	if err != nil {
		t.Fatal(err)
	}
	b, err = bus.Connect(t.Context(), bus.Options{InProcess: srv.InProcess(), Log: zap.NewNop()})
	if err != nil {
		srv.Close()
		t.Fatal(err)
	}
	return b, func() { b.Close(); srv.Close() }
}

// HTTP serves a handler on loopback until the test ends, and returns its URL.
func HTTP(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// Serve serves the operator API for the settings, as tieback run does, without services: on the socket in TIEBACK_DATA, and at
// the URL that it returns. It ends with the test, or when leave is called.
func Serve(t *testing.T) (url string, leave func()) {
	t.Helper()
	a, err := tenant.Load("tieback", os.Getenv, tenant.ValidCompanies)
	if err != nil {
		t.Fatal(err)
	}
	pl, err := run.Open(t.Context(), a, connectors.Drivers)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	socket := console.Socket(a.Settings.Data)
	go func() { done <- console.Run(ctx, a, console.Options{Listener: l, Socket: socket}) }()
	leave = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the console ended with: %v", err)
		}
		pl.Close()
	})
	t.Cleanup(leave)
	for range 200 {
		if c, err := net.Dial("unix", socket); err == nil {
			_ = c.Close()
			return "http://" + l.Addr().String(), leave
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the socket does not answer")
	return "", leave
}

// Damage is bustest.Flip for the embedded broker of the settings' data folder, which must be stopped.
func Damage(t *testing.T, stream string, part float64, crashed bool) {
	t.Helper()
	bustest.Flip(t, filepath.Join(os.Getenv("TIEBACK_DATA"), "jetstream"), stream, part, crashed)
}

// Listening starts a broker, sets TIEBACK_NATS_URL and creates the streams. The broker and the connection end with the test.
func Listening(t *testing.T) *bus.Bus {
	t.Helper()
	ns := bustest.Start(t, server.Options{Port: -1})
	t.Setenv("TIEBACK_NATS_URL", ns.ClientURL())
	b, err := bus.Connect(t.Context(), bus.Options{URL: ns.ClientURL(), Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}
