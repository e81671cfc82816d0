package lagexporter

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/tieback/tieback/pkg/app"
	"github.com/tieback/tieback/pkg/settings"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Without a broker, the service exports tieback_broker_up 0, and ends with its context.
func TestRunWithoutBroker(t *testing.T) {
	a := &app.App{
		Name: "lag-exporter", Settings: settings.Settings{NATSURL: "nats://" + freeAddr(t), Replicas: 1},
		Log: zap.NewNop(), Registry: prometheus.NewRegistry(),
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Run(ctx, a) }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := testutil.GatherAndCompare(a.Registry, strings.NewReader(`
# HELP tieback_broker_up 1 if JetStream answered all requests of the last sample, otherwise 0.
# TYPE tieback_broker_up gauge
tieback_broker_up 0
`), "tieback_broker_up", "tieback_consumer_lag_messages", "tieback_stream_messages")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	stop()
	select {
	case <-done: // nil, or that ctx has ended
	case <-time.After(10 * time.Second):
		t.Fatal("Run does not return")
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
