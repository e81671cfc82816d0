package app

import (
	"context"
	"errors"
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

// A service that waits for the broker is alive but not ready. Its background work runs, and it stops when its context ends.
func TestServiceWaitingForBrokerIsNotReady(t *testing.T) {
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
	if code, body := get(t, "http://"+addr+"/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d %s", code, body)
	}
	if code, body := get(t, "http://"+addr+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "waiting for the broker") {
		t.Errorf("/readyz: %d %s", code, body)
	}
	<-background
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) { // until the reason is known
		_, body := get(t, "http://"+addr+"/readyz")
		if err := telemetry.Ready(addr); err == nil {
			t.Fatal("the health check passes")
		} else if strings.Contains(body, "no process listens") && strings.Contains(err.Error(), "no process listens") {
			break
		} else if time.Now().After(end) {
			t.Fatalf("/readyz returns %q, the health check %v", body, err)
		}
	}
	stop()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the service does not stop")
	}
}

// With BrokerOptional, a service runs and is ready without a broker.
func TestServiceWithOptionalBrokerIsReady(t *testing.T) {
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
	if code, body := get(t, "http://"+a.Settings.AdminAddr+"/readyz"); code != http.StatusOK {
		t.Errorf("/readyz: %d %s", code, body)
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

// get sends requests until one is answered, and returns the status and the body.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var resp *http.Response
		if resp, err = http.Get(url); err != nil {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	t.Fatal(err)
	return 0, ""
}

// A service that waits for something else than the broker is not ready for as long.
func TestWaitingServiceIsNotReady(t *testing.T) {
	a := &App{Name: "console", Settings: settings.Settings{AdminAddr: freeAddr(t)}, Log: zap.NewNop(), Registry: prometheus.NewRegistry()}
	waits, goOn := make(chan struct{}), make(chan struct{})
	p := Program{BrokerOptional: true, Run: func(ctx context.Context, a *App) error {
		a.SetWaiting(errors.New("another process has the index open"))
		close(waits)
		<-goOn
		a.SetWaiting(nil)
		close(goOn)
		<-ctx.Done()
		return nil
	}}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.serve(ctx, a) }()
	<-waits
	if code, body := get(t, "http://"+a.Settings.AdminAddr+"/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "another process has the index open") {
		t.Errorf("/readyz: %d %s", code, body)
	}
	goOn <- struct{}{}
	<-goOn
	if code, body := get(t, "http://"+a.Settings.AdminAddr+"/readyz"); code != http.StatusOK {
		t.Errorf("/readyz: %d %s", code, body)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
