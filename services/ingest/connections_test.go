package ingest

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Of more connections than there may be, those that wait longest are closed, and never one that an
// authentic delivery is coming in by.
func TestWhoWaitsLongestMakesRoom(t *testing.T) {
	const most = 4
	c := newConnections(most)
	received, finish := make(chan struct{}), make(chan struct{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.authentic(r)
		if r.URL.Path == "/slow" {
			close(received)
			<-finish
		}
		_, _ = io.WriteString(w, "ok")
	}))
	srv.Config.ConnState, srv.Config.ConnContext = c.changed, withConn
	srv.Start()
	defer srv.Close()
	slow := make(chan error, 1)
	get := func(path string) error {
		client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get(srv.URL + path)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	go func() { slow <- get("/slow") }()
	<-received
	var idle []net.Conn
	for range 5 * most {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle = append(idle, conn)
	}
	if err := get("/"); err != nil {
		t.Errorf("beside idle connections: %v", err)
	}
	for i, conn := range idle[:4*most] {
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF { //nolint:errorlint // a bare read
			t.Errorf("idle connection %d: %v, want it closed", i, err)
		}
	}
	c.mu.Lock()
	if len(c.open) > most {
		t.Errorf("%d connections are open, at most %d may be", len(c.open), most)
	}
	c.mu.Unlock()
	close(finish)
	if err := <-slow; err != nil {
		t.Errorf("an authentic delivery was cut off: %v", err)
	}
}
