//go:build !race

// nats-server 2.15.2 has a data race: Server.Reload writes the options while a direct get reads them. The race detector
// reports it and fails whatever test runs then, so make test runs these tests without it.

package endtoend

import (
	"path/filepath"
	"testing"
	"time"
)

// All broker keys are rotated while requests arrive. Each request is closed, and the old keys are refused in the end.
func TestBrokerKeysRotateUnderLoad(t *testing.T) {
	t.Parallel()
	log := &logRecorder{more: make(chan struct{})}
	w := newWorld(t, setup{log: log.core()})
	g := newGuarded(t)
	old := g.connected()
	w.runApart(g, func() { g.provision(0) })
	click := func() { w.succeeded(w.press("create_vendor")) }
	click()
	keys := filepath.Join(g.dir, "keys")
	for _, step := range []string{"--rotate", "--rotate", "--retire"} {
		g.provision(0, "keys", step, keys)
		if err := g.server.Reload(); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			click()
		}
	}
	for service, nc := range old {
		if err := nc.FlushTimeout(5 * time.Second); err == nil {
			t.Errorf("the old key of %s is still accepted", service)
		}
		nc.Close()
	}
}
