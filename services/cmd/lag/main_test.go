package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/settings"
	"github.com/tieback/tieback/pkg/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Started before its broker, or without one, it can be scraped and says so, and ends when told to.
func TestWithoutABrokerItSaysSo(t *testing.T) {
	s := settings.Settings{NATSURL: "nats://" + freeAddr(t), AdminAddr: freeAddr(t), Replicas: 1}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- serve(ctx, s, zap.NewNop()) }()
	for deadline := time.Now().Add(10 * time.Second); telemetry.Ready(s.AdminAddr) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not ready within 10 s")
		}
	}
	shown := get(t, "http://"+s.AdminAddr+"/metrics")
	if !strings.Contains(shown, "\ntieback_broker_up 0\n") || strings.Contains(shown, "\ntieback_consumer_") {
		t.Errorf("shown is %s", shown)
	}
	if !strings.Contains(shown, `tieback_build_info{revision="`) {
		t.Error("which version runs is not shown")
	}
	stop()
	select {
	case <-done: // nil, or that ctx has ended
	case <-time.After(10 * time.Second):
		t.Fatal("it does not end")
	}
	http.DefaultClient.CloseIdleConnections()
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
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
