package endtoend

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tieback/tieback/pkg/bus"
	"github.com/tieback/tieback/pkg/bus/bustest"
	"github.com/tieback/tieback/services/connectors/ledger"
	"github.com/tieback/tieback/services/tieback/run"
)

// A broker that has reached max_file_store answers "insufficient resources", and ingest answers 503. The services wait and
// resume when there is space. Requests in flight are booked once.
func TestBrokerWithoutStorageIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	ns := bustest.Start(t, server.Options{Port: -1, StoreDir: filepath.Join(w.data, "jetstream"), SyncAlways: true, JetStreamMaxStore: 64 << 20})
	p := w.process()
	pl := &run.Pipeline{App: p, Ledger: ledger.Open(run.LedgerDir(w.data))}
	w.must(p.Connect(t.Context(), bus.Options{URL: ns.ClientURL(), Name: "tieback"}))
	l := w.start(&line{Pipeline: pl}, nil)

	requests := w.vendors(20) // some are in flight
	nc, err := nats.Connect(ns.ClientURL())
	w.must(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	w.must(err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "FILLER", Subjects: []string{"filler"}})
	w.must(err)
	for size := 4 << 20; size > 0; {
		if _, err := js.Publish(t.Context(), "filler", make([]byte, size), jetstream.WithRetryAttempts(0)); err != nil {
			t.Logf("%d bytes: %v", size, err)
			size /= 4
		}
	}
	if code, said := w.deliver(firstCompany, w.token, shapes["v4.0"](firstCompany, 1)); code != http.StatusServiceUnavailable {
		t.Errorf("without room ingest answers %d %s, want 503", code, said)
	}
	requests = append(requests, w.vendors(10)...)
	w.must(js.DeleteStream(t.Context(), "FILLER"))
	w.allSucceed(requests)
	if booked := len(w.sound(l.Ledger, firstCompany, ledger.Vendor)); booked != len(requests) {
		t.Errorf("%d vendors in the books, want %d", booked, len(requests))
	}
}
