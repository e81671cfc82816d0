package connector

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/conformance"
	"github.com/tieback/tieback/pkg/connector/conformance/rehearsal"
	"github.com/tieback/tieback/pkg/connector/remote"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
	"github.com/tieback/tieback/services/connectors/ledger"
)

const token = "0123456789abcdef"

// serve serves a new ledger, wrapped, and returns its address.
func serve(t *testing.T, wrap func(connector.Driver) connector.Driver, c remote.ServerConfig) string {
	t.Helper()
	books := ledger.Open(t.TempDir())
	d, err := books.Company(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	c.Resolve = func(context.Context, int64) (connector.Driver, error) { return wrap(d), nil }
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- remote.Serve(ctx, c) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-done, books.Close()); err != nil {
			t.Error(err)
		}
	})
	return c.Listener.Addr().String()
}

func asIs(d connector.Driver) connector.Driver { return d }

func last(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

func TestVerifyTheLedger(t *testing.T) {
	address := serve(t, rehearsal.Edge, remote.ServerConfig{Rehearsal: true, Tokens: []string{token}})
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, err := command(t, "verify", address, "--company", "7", "--tls", "off", "--token-file", file)
	if err != nil || !strings.HasPrefix(last(out), "ok: ") || !strings.HasSuffix(last(out), "cases passed, 3 left out") {
		t.Errorf("%v\n%s\n%s", err, out, errs)
	}
	for _, want := range []string{"the target has no way to restart the connector", "the target has no way to stop the connector in good order", "Tieback Ledger 1.0.0"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
}

// immortal reports every record as present.
type immortal struct{ connector.Driver }

func (immortal) State(context.Context, *tiebackv1.StateRequest) (*tiebackv1.StateResponse, error) {
	return &tiebackv1.StateResponse{State: tiebackv1.RecordState_RECORD_STATE_PRESENT}, nil
}

func TestVerifyABrokenConnector(t *testing.T) {
	address := serve(t, func(d connector.Driver) connector.Driver { return immortal{d} }, remote.ServerConfig{})
	out, _, err := command(t, "verify", address, "--company", "7", "--tls", "off", "--run", "^state$|cents")
	if !errors.Is(err, ErrFailed) || last(out) != "failed: 1 case of 2, 1 passed, 0 left out" {
		t.Errorf("%v\n%s", err, out)
	}
	for _, want := range []string{"FAILED", "is present, it should be unknown", "In a real ledger: Procore unlinks a record"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	out, _, err = command(t, "verify", address, "--company", "7", "--tls", "off", "--run", "^state$", "-o", "json")
	var r reportJSON
	if jsonErr := json.Unmarshal([]byte(out), &r); jsonErr != nil || !errors.Is(err, ErrFailed) || r.OK || len(r.Cases) != 1 || r.Cases[0].Outcome != "failed" || r.Cases[0].Ledger == "" {
		t.Errorf("%v, %v\n%s", err, jsonErr, out)
	}
}

// The command of --restart kills the connector and starts the next one in the background.
func TestVerifyRestartsByACommand(t *testing.T) {
	if dir := os.Getenv("VERIFY_TEST_SERVE"); dir != "" {
		t.Error(serveUntilKilled(dir, os.Getenv("VERIFY_TEST_ADDR")))
		return
	}
	dir, address := t.TempDir(), freeAddress(t)
	start := "VERIFY_TEST_SERVE=" + dir + " VERIFY_TEST_ADDR=" + address + " " + os.Args[0] + " -test.run=^TestVerifyRestartsByACommand$ & echo $! >" + dir + "/pid"
	kill := "kill -9 $(cat " + dir + "/pid)"
	if err := shell(t.Context(), "--restart", start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = shell(context.Background(), "--restart", kill) })
	out, errs, err := command(t, "verify", address, "--company", "7", "--tls", "off", "--run", "killed", "--restart", kill+"; "+start)
	if err != nil || last(out) != "ok: 1 case passed, 0 left out" {
		t.Errorf("%v\n%s%s", err, out, errs)
	}
}

func serveUntilKilled(dir, address string) error {
	l, err := net.Listen("tcp", address)
	for range 100 { // the killed process may hold the address for a moment
		if err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
		l, err = net.Listen("tcp", address)
	}
	if err != nil {
		return err
	}
	books := ledger.Open(dir)
	open := sync.OnceValues(func() (connector.Driver, error) { return books.Company(context.Background(), 7) })
	return remote.Serve(context.Background(), remote.ServerConfig{
		Listener: l, Resolve: func(context.Context, int64) (connector.Driver, error) { return open() },
	})
}

// freeAddress returns an address of a free port.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// An interrupted suite does not report the remaining cases as failed.
func TestVerifyInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	address := serve(t, func(d connector.Driver) connector.Driver { return hangs{d, interrupt} }, remote.ServerConfig{})
	var out strings.Builder
	cmd := Command()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs([]string{"verify", address, "--company", "7", "--tls", "off", "--run", "^capabilities$|^every declared|^state$"})
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.ExecuteContext(ctx)
	if !errors.Is(err, ErrFailed) || last(out.String()) != "interrupted after 1 case: 1 passed, 0 failed, 0 left out" || strings.Contains(out.String(), "FAILED") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// hangs interrupts the suite in its first Put and does not return.
type hangs struct {
	connector.Driver
	interrupt func()
}

func (h hangs) Put(ctx context.Context, _ *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
	h.interrupt()
	<-ctx.Done()
	return nil, ctx.Err()
}

// With a plaintext connector the error names the flag.
func TestVerifyPlaintextWithTLS(t *testing.T) {
	t.Parallel() // it waits for the timeout of the handshake
	address := serve(t, asIs, remote.ServerConfig{})
	_, errs, err := command(t, "verify", address, "--company", "7")
	if !errors.Is(err, ErrFailed) || !strings.Contains(errs, "if the connector does not use TLS, give --tls off") {
		t.Errorf("%v\n%s", err, errs)
	}
}

// The output of a failed restart is shown, and a restart that kills nothing fails.
func TestVerifyWithABadRestart(t *testing.T) {
	address := serve(t, asIs, remote.ServerConfig{})
	for restart, want := range map[string]string{
		"echo no docker; false": `--restart "echo no docker; false": exit status 1: no docker`,
		"true":                  "no call failed after Restart returned: nothing was killed",
		"sleep 30":              `--restart "sleep 30": the command did not end`,
	} {
		out, _, err := command(t, "verify", address, "--company", "7", "--tls", "off", "--run", "killed", "--timeout", "3s", "--restart", restart)
		if !errors.Is(err, ErrFailed) || !strings.Contains(out, want) {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// A restart may leave a process in the background, which holds the output open.
func TestRestartLeavesAProcessInTheBackground(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	start := time.Now()
	if err := shell(t.Context(), "--restart", "sleep 20 & echo $! >"+pid); err != nil || time.Since(start) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	if err := shell(t.Context(), "--restart", "kill $(cat "+pid+")"); err != nil {
		t.Error(err)
	}
}

func TestVerifyFailsIfNoCaseRuns(t *testing.T) {
	address := serve(t, asIs, remote.ServerConfig{})
	out, _, err := command(t, "verify", address, "--company", "7", "--tls", "off", "--run", "no such case")
	if !errors.Is(err, ErrFailed) || last(out) != "failed: nothing was proved: no case ran" {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestVerifyUsageErrors(t *testing.T) {
	for want, args := range map[string][]string{
		"--company is missing":         {"verify", "127.0.0.1:1"},
		"connector.address":            {"verify", "https://erp", "--company", "7"},
		"connector.tls":                {"verify", "127.0.0.1:1", "--company", "7", "--tls", "maybe"},
		"--run":                        {"verify", "127.0.0.1:1", "--company", "7", "--run", "("},
		"no such file":                 {"verify", "127.0.0.1:1", "--company", "7", "--ca", "/no/such/file"},
		"must be table or json":        {"verify", "127.0.0.1:1", "--company", "7", "-o", "xml"},
		"connector.ca":                 {"verify", "127.0.0.1:1", "--company", "7", "--ca", os.Args[0]},
		"give the connector's address": {"verify"},
		"unknown flag: --companies":    {"verify", "--companies", "7"},
	} {
		if _, _, err := command(t, args...); err == nil || errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

func TestTableColumnsAreAligned(t *testing.T) {
	var out strings.Builder
	for _, c := range conformance.Cases() {
		table{&out}.result(conformance.Result{Case: c})
	}
	column := -1
	for line := range strings.Lines(out.String()) {
		at := strings.Index(line, "passed")
		if column >= 0 && at != column {
			t.Errorf("%q: at %d, not %d", line, at, column)
		}
		column = at
	}
}
