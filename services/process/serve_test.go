package process

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

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
