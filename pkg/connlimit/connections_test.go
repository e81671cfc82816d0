package connlimit

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Above the limit, the connections that have waited longest are closed, but none for which Keep was called.
func TestLongestWaitingConnectionIsClosed(t *testing.T) {
	const limit = 4
	c := New(limit)
	received, finish := make(chan struct{}), make(chan struct{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.Keep(r)
		if r.URL.Path == "/slow" {
			close(received)
			<-finish
		}
		_, _ = io.WriteString(w, "ok")
	}))
	srv.Listener = c.Limit(srv.Config, srv.Listener)
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
	for range 5 * limit {
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
	for i, conn := range idle[:4*limit] {
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF { //nolint:errorlint // a bare read
			t.Errorf("idle connection %d: %v, want it closed", i, err)
		}
	}
	c.mu.Lock()
	if len(c.open) > limit {
		t.Errorf("%d connections are open, at most %d may be", len(c.open), limit)
	}
	c.mu.Unlock()
	close(finish)
	if err := <-slow; err != nil {
		t.Errorf("a request that is kept was interrupted: %v", err)
	}
}

// A connection is not closed before minAge, however fast new ones come: they wait in the listener's queue.
func TestNoConnectionIsClosedBeforeMinAge(t *testing.T) {
	const limit, hostile = 8, 32
	c := New(limit)
	var mu sync.Mutex
	began, ages := map[net.Conn]time.Time{}, []time.Duration{}
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Listener, srv.Config.ConnContext = listener{srv.Listener, c}, withConn
	srv.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		mu.Lock()
		switch state {
		case http.StateNew:
			began[conn] = time.Now()
		case http.StateClosed:
			ages = append(ages, time.Since(began[conn]))
		}
		mu.Unlock()
		c.connState(conn, state)
	}
	srv.Start()
	for range hostile {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(srv.URL)
	if err != nil {
		t.Fatalf("behind idle connections: %v", err)
	}
	_ = resp.Body.Close()
	mu.Lock()
	if len(ages) < hostile-limit {
		t.Errorf("%d connections were closed to make room, want %d", len(ages), hostile-limit)
	}
	for _, age := range ages[:min(len(ages), hostile-limit)] {
		if age < minAge*9/10 {
			t.Errorf("a connection was closed after %v, want %v at least", age, minAge)
		}
	}
	mu.Unlock()
	srv.Close()
}

// Connections leave file descriptors for the broker and for files. Without any, `tieback run` ended.
func TestConnectionsLeaveDescriptors(t *testing.T) {
	for descriptors, want := range map[uint64]int{0: 1, 256: 128, 1024: 512, 20_000: 2048, 1 << 63: 2048} {
		if got := share(2048, 2, descriptors); got != want {
			t.Errorf("of %d descriptors %d connections may be open, want %d", descriptors, got, want)
		}
	}
}
