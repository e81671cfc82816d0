package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/procore"
	"github.com/tieback/tieback/pkg/settings"
)

// Who waits for the broker is alive and not ready, and stops when told to.
func TestAServiceThatWaitsForTheBrokerIsAliveAndNotReady(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p := &Process{
		Settings: settings.Settings{NATSURL: "nats://127.0.0.1:1", AdminAddr: addr}, Log: zap.NewNop(), Registry: prometheus.NewRegistry(),
		Procore: &procore.Client{}, ERPs: connector.NewShared(nil),
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- p.serve(ctx, "export", func(context.Context, *Process) error { t.Error("the service runs without a broker"); return nil })
	}()
	if code, said := ask(t, "http://"+addr+"/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d %s", code, said)
	}
	if code, said := ask(t, "http://"+addr+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(said, "waiting for the broker") {
		t.Errorf("/readyz: %d %s", code, said)
	}
	stop()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("it does not stop")
	}
}

// ask asks until there is an answer.
func ask(t *testing.T, url string) (int, string) {
	t.Helper()
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var resp *http.Response
		if resp, err = http.Get(url); err != nil {
			continue
		}
		said, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(said)
	}
	t.Fatal(err)
	return 0, ""
}

// A secret that everybody can read is used, and told.
func TestExposedSecretsAreTold(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(content), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	open, hidden := write("open", "s3cr3t-s3cr3t-s3cr3t", 0o644), write("hidden", "s3cr3t-s3cr3t-s3cr3t", 0o440)
	file := write("companies.yaml", "companies: [{id: 7, client_id: c, client_secret_file: "+open+", webhook_tokens_file: "+hidden+", connector: {driver: x}}]", 0o640)
	core, logs := observer.New(zap.WarnLevel)
	p := &Process{Settings: settings.Settings{Companies: file, NATSNKeyFile: write("key", "SU", 0o604)}, Log: zap.New(core)}
	p.tellExposed()
	var told []string
	for _, line := range logs.All() {
		told = append(told, fmt.Sprint(line.ContextMap()["file"]))
	}
	if want := []string{open, p.Settings.NATSNKeyFile}; !slices.Equal(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
}
