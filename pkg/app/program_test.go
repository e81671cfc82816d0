package app

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

	"github.com/tieback/tieback/pkg/settings"
	"github.com/tieback/tieback/pkg/telemetry"
)

// A service that waits for the broker is alive and not ready, and stops when its context ends. Its background work runs.
func TestAServiceThatWaitsForTheBrokerIsAliveAndNotReady(t *testing.T) {
	addr := freeAddr(t)
	a := &App{
		Name: "export", Settings: settings.Settings{NATSURL: "nats://127.0.0.1:1", AdminAddr: addr}, Log: zap.NewNop(), Registry: prometheus.NewRegistry(),
	}
	background := make(chan struct{})
	p := Program{
		Background: func(ctx context.Context, _ *App) error { close(background); <-ctx.Done(); return nil },
		Run:        func(context.Context, *App) error { t.Error("the service runs without a broker"); return nil },
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.serve(ctx, a) }()
	if code, said := ask(t, "http://"+addr+"/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d %s", code, said)
	}
	if code, said := ask(t, "http://"+addr+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(said, "waiting for the broker") {
		t.Errorf("/readyz: %d %s", code, said)
	}
	<-background
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) { // the reason is shown when it is known
		_, said := ask(t, "http://"+addr+"/readyz")
		if err := telemetry.Ready(addr); err == nil {
			t.Fatal("the health check passes")
		} else if strings.Contains(said, "no process listens there") && strings.Contains(err.Error(), "no process listens there") {
			break
		} else if time.Now().After(end) {
			t.Fatalf("/readyz says %s, the health check %v", said, err)
		}
	}
	stop()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("it does not stop")
	}
}

// A service that can do without a broker runs, and is ready, before it has one.
func TestAServiceThatNeedsNoBrokerIsReady(t *testing.T) {
	a := &App{Name: "lag-exporter", Settings: settings.Settings{AdminAddr: freeAddr(t)}, Log: zap.NewNop(), Registry: prometheus.NewRegistry()}
	running := make(chan struct{})
	p := Program{BrokerOptional: true, Run: func(ctx context.Context, a *App) error {
		if a.Bus != nil {
			t.Error("the service has a bus")
		}
		close(running)
		<-ctx.Done()
		return nil
	}}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.serve(ctx, a) }()
	<-running
	if code, said := ask(t, "http://"+a.Settings.AdminAddr+"/readyz"); code != http.StatusOK {
		t.Errorf("/readyz: %d %s", code, said)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
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
