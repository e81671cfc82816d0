package remote

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/tieback/tieback/pkg/connector"
	"github.com/tieback/tieback/pkg/connector/conformance/rehearsal"
	"github.com/tieback/tieback/pkg/fault"
	tiebackv1 "github.com/tieback/tieback/proto/tieback/v1"
)

// expect checks the class and the text of an error.
func expect(t testing.TB, err error, class fault.Class, says string) {
	t.Helper()
	if err == nil || fault.ClassOf(err) != class || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v, %v; want %v, %q", fault.ClassOf(err), err, class, says)
	}
}

func TestTLSWithTokenAndClientCertificate(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	cert, key := ca.files(t, "erp.example.com")
	address, _ := served(t, driver{}, ServerConfig{Tokens: []string{"the-former-token-too", secret}, TLSCert: cert, TLSKey: key, ClientCA: file(t, ca.pem)})
	mine, myKey := ca.issue(t, "worker")
	theirs, theirKey := stranger.issue(t, "worker")
	good := map[string]string{"tls": "on", "ca": ca.pem, "server_name": "erp.example.com", "token": secret, "cert": mine, "key": myKey}
	for name, c := range map[string]struct {
		change map[string]string
		says   string
	}{
		"good":                   {nil, ""},
		"the other token":        {map[string]string{"token": "the-former-token-too"}, ""},
		"wrong token":            {map[string]string{"token": "another-token-altogether"}, "refuses our token: the token is missing or wrong"},
		"no token":               {map[string]string{"token": ""}, "requires a token, and connector.token is not set"},
		"wrong CA":               {map[string]string{"ca": stranger.pem}, "certificate signed by unknown authority"},
		"system roots":           {map[string]string{"ca": ""}, "unknown authority"},
		"another name":           {map[string]string{"server_name": "other.example.com"}, "not other.example.com"},
		"no certificate":         {map[string]string{"cert": "", "key": ""}, "client certificate"},
		"stranger's certificate": {map[string]string{"cert": theirs, "key": theirKey}, ""},
		"plaintext":              {map[string]string{"tls": "off", "ca": "", "server_name": "", "cert": "", "key": ""}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			all := map[string]string{}
			for _, m := range []map[string]string{good, c.change} {
				for k, v := range m {
					all[k] = v
				}
			}
			d := opened(t, address, all)
			err := put(t.Context(), d)
			if offered := d.(interface{ Certificates() []*x509.Certificate }).Certificates(); err == nil && (len(offered) == 0 || offered[0].DNSNames[0] != "erp.example.com") {
				t.Errorf("the connector offered %v", offered)
			}
			switch {
			case name == "good" || name == "the other token":
				if err != nil {
					t.Error(err)
				}
			case name == "plaintext" || name == "stranger's certificate":
				// The server disconnects while the request may be in flight: it may have been sent.
				if err == nil || fault.ClassOf(err) == fault.Permanent {
					t.Errorf("%v, %v", fault.ClassOf(err), err)
				}
			default:
				expect(t, err, fault.Transient, c.says)
			}
			if err != nil && strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("the token is in %v", err)
			}
		})
	}
}

func TestHealthNeedsNoAuthentication(t *testing.T) {
	address, _ := served(t, driver{}, ServerConfig{Tokens: []string{secret}})
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", answer, err)
	}
}

func TestInvalidServerConfigIsRefused(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.files(t, "erp")
	for says, c := range map[string]ServerConfig{
		"token 2 of 2":              {Tokens: []string{secret, "short"}},
		"TLS certificate":           {TLSCert: cert, TLSKey: "/nowhere"},
		"ClientCA requires":         {ClientCA: cert},
		"client CA":                 {TLSCert: cert, TLSKey: key, ClientCA: "/nowhere"},
		"has no PEM certificate":    {TLSCert: cert, TLSKey: key, ClientCA: key},
		"TLS certificate \"\" with": {TLSKey: key},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c.Listener = l
		if err := Serve(t.Context(), c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Error("the listener is open")
		}
	}
}

// A write that was certainly not sent is not ambiguous.
func TestUnsentWriteIsTransient(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	d := opened(t, l.Addr().String(), nil)
	expect(t, put(t.Context(), d), fault.Transient, "connection refused")

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	err = put(canceled, d)
	expect(t, err, fault.Transient, "not called")
	if !fault.Stopped(canceled, err) {
		t.Error("Stopped does not report it")
	}

	address, _ := served(t, driver{}, ServerConfig{})
	d = opened(t, address, nil)
	_, err = d.Put(t.Context(), &tiebackv1.PutRequest{Record: &tiebackv1.Record{Name: "\xff"}})
	expect(t, err, fault.Permanent, "UTF-8")
	_, err = d.Put(t.Context(), &tiebackv1.PutRequest{Record: &tiebackv1.Record{Name: strings.Repeat("x", MaxMessage+1)}})
	expect(t, err, fault.Permanent, "larger than max")
}

// blocking returns a driver whose Put waits until its context ends.
func blocking() (driver, <-chan struct{}) {
	in := make(chan struct{}, 1)
	return driver{put: func(ctx context.Context, _ *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		select {
		case in <- struct{}{}:
		default: // not read
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}}, in
}

func TestEarlierDeadlineApplies(t *testing.T) {
	d, _ := blocking()
	address, _ := served(t, d, ServerConfig{})
	err := put(t.Context(), opened(t, address, map[string]string{"timeout": "100ms"}))
	expect(t, err, fault.Ambiguous, address)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	expect(t, put(ctx, opened(t, address, map[string]string{"timeout": "5m"})), fault.Ambiguous, address)
	if took := time.Since(start); took > time.Minute {
		t.Errorf("took %v", took)
	}
}

func TestCanceledCallIsStopped(t *testing.T) {
	d, in := blocking()
	address, _ := served(t, d, ServerConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-in; cancel() }()
	err := put(ctx, opened(t, address, nil))
	expect(t, err, fault.Ambiguous, address)
	if !fault.Stopped(ctx, err) {
		t.Errorf("not reported as stopped: %v", err)
	}
}

// A server that is killed while it handles a write may have booked it.
func TestWriteToAKilledServerIsAmbiguous(t *testing.T) {
	if os.Getenv("REMOTE_TEST_SERVE") != "" {
		hang(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestWriteToAKilledServerIsAmbiguous$")
	cmd.Env = append(os.Environ(), "REMOTE_TEST_SERVE=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	d := opened(t, lines.Text(), nil)
	go func() {
		lines.Scan() // it has received the write
		_ = cmd.Process.Kill()
	}()
	expect(t, put(t.Context(), d), fault.Ambiguous, "Unavailable")
	_ = cmd.Wait() // killed
	expect(t, put(t.Context(), d), fault.Transient, "Unavailable")
}

// hang is the process that is killed. It prints its address, and a line when it has received a write.
func hang(t *testing.T) {
	address, _ := served(t, driver{put: func(ctx context.Context, _ *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		_, _ = io.WriteString(os.Stdout, "writing\n")
		<-ctx.Done()
		return nil, ctx.Err()
	}}, ServerConfig{})
	_, _ = io.WriteString(os.Stdout, address+"\n")
	<-t.Context().Done() // never: it is killed
}

func TestLargeMessage(t *testing.T) {
	name := strings.Repeat("x", 12<<20) // gRPC's default is 4 MB; the broker takes 8 MB
	address, _ := served(t, driver{put: func(_ context.Context, q *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		return &tiebackv1.PutResponse{Booking: &tiebackv1.Booking{OriginId: fmt.Sprint(len(q.Record.Name))}}, nil
	}}, ServerConfig{})
	a, err := opened(t, address, nil).Put(t.Context(), &tiebackv1.PutRequest{Record: &tiebackv1.Record{Name: name}})
	if err != nil || a.Booking.OriginId != fmt.Sprint(len(name)) {
		t.Errorf("%s bytes, %v", a.GetBooking().GetOriginId(), err)
	}
}

func TestPanickingDriver(t *testing.T) {
	address, _ := served(t, driver{put: func(context.Context, *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) { panic(secret) }}, ServerConfig{})
	d := opened(t, address, nil)
	err := put(t.Context(), d)
	expect(t, err, fault.Ambiguous, "panicked")
	if strings.Contains(err.Error(), secret) {
		t.Errorf("%v", err)
	}
	if _, err := d.Remove(t.Context(), &tiebackv1.RemoveRequest{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A rolling update loses no answer.
func TestStopCompletesCallsInFlight(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	address, stop := served(t, driver{put: func(context.Context, *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		close(in)
		<-out
		return &tiebackv1.PutResponse{}, nil
	}}, ServerConfig{})
	d := opened(t, address, nil)
	answered := make(chan error, 1)
	go func() { answered <- put(t.Context(), d) }()
	<-in
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	close(out)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	<-stopped
}

func TestStopDoesNotWaitForADriverThatHangs(t *testing.T) {
	in, out := make(chan struct{}), make(chan struct{})
	defer close(out)
	address, stop := served(t, driver{put: func(context.Context, *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		close(in)
		<-out
		return &tiebackv1.PutResponse{}, nil
	}}, ServerConfig{Grace: time.Millisecond})
	d := opened(t, address, nil)
	answered := make(chan error, 1)
	go func() { answered <- put(t.Context(), d) }()
	<-in
	stop()
	expect(t, <-answered, fault.Ambiguous, "Unavailable")
}

func TestRehearsal(t *testing.T) {
	booked := 0
	d := driver{put: func(context.Context, *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		booked++
		return &tiebackv1.PutResponse{}, nil
	}}
	address, _ := served(t, rehearsal.Edge(d), ServerConfig{Rehearsal: true})
	c := opened(t, address, nil)

	err := put(rehearsal.With(t.Context(), rehearsal.Throttled), c)
	expect(t, err, fault.Throttled, "throttled")
	if booked != 0 || fault.RetryAfter(err) != rehearsal.Wait {
		t.Errorf("booked %d, again after %v", booked, fault.RetryAfter(err))
	}
	expect(t, put(rehearsal.With(t.Context(), rehearsal.LostAnswer), c), fault.Ambiguous, "lost")
	if booked != 1 {
		t.Errorf("booked %d", booked)
	}
	if got := rehearses(t, address); !got {
		t.Error("does not say so")
	}

	address, _ = served(t, d, ServerConfig{}) // without Rehearsal the header is ignored
	if err := put(rehearsal.With(t.Context(), rehearsal.Throttled), opened(t, address, nil)); err != nil || rehearses(t, address) {
		t.Errorf("%v, says %v", err, rehearses(t, address))
	}
}

// The server passes the fault to the driver and does nothing else.
func TestDriverSimulatesTheFault(t *testing.T) {
	var asked []rehearsal.Fault
	address, _ := served(t, driver{put: func(ctx context.Context, _ *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
		asked = append(asked, rehearsal.Of(ctx))
		return &tiebackv1.PutResponse{}, nil
	}}, ServerConfig{Rehearsal: true})
	c := opened(t, address, nil)
	for _, f := range []rehearsal.Fault{rehearsal.Throttled, rehearsal.LostAnswer} {
		if err := put(rehearsal.With(t.Context(), f), c); err != nil || asked[len(asked)-1] != f {
			t.Errorf("%v, asked for %q", err, asked)
		}
	}
}

func rehearses(t *testing.T, address string) bool {
	t.Helper()
	yes, err := Rehearses(t.Context(), 1, map[string]string{"address": address, "tls": "off"})
	if err != nil {
		t.Fatal(err)
	}
	return yes
}

// A server that uses none of our code.
func TestForeignServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error { return status.Error(codes.NotFound, "no such record") }))
	defer s.Stop()
	go func() { _ = s.Serve(l) }()
	d := opened(t, l.Addr().String(), nil)
	expect(t, put(t.Context(), d), fault.Permanent, "no such record")
	if a, err := d.Find(t.Context(), &tiebackv1.FindRequest{Key: "k"}); err != nil || a.Booking != nil {
		t.Errorf("a key that was never booked: %v, %v", a, err)
	}
}

// listDriver is an ERP whose List is a function.
type listDriver struct {
	driver
	list func() (*tiebackv1.ListResponse, error)
}

func (d listDriver) List(context.Context, *tiebackv1.ListRequest) (*tiebackv1.ListResponse, error) {
	return d.list()
}

func (d listDriver) Find(context.Context, *tiebackv1.FindRequest) (*tiebackv1.FindResponse, error) {
	return &tiebackv1.FindResponse{Booking: &tiebackv1.Booking{OriginId: strings.Repeat("x", 2<<20)}}, nil
}

// The size of an answer is bounded by its call: a page may be large, all others are small.
func TestAnswersAreBounded(t *testing.T) {
	size := new(atomic.Int64)
	address, _ := served(t, listDriver{list: func() (*tiebackv1.ListResponse, error) {
		return &tiebackv1.ListResponse{Cursor: strings.Repeat("x", int(size.Load()))}, nil
	}}, ServerConfig{})
	d := opened(t, address, nil)
	size.Store(10 << 20)
	if _, err := d.List(t.Context(), &tiebackv1.ListRequest{}); err != nil {
		t.Errorf("a large page: %v", err)
	}
	size.Store(MaxMessage)
	_, err := d.List(t.Context(), &tiebackv1.ListRequest{})
	expect(t, err, fault.Permanent, "larger than max")
	_, err = d.Find(t.Context(), &tiebackv1.FindRequest{})
	expect(t, err, fault.Permanent, "larger than max")
}

// The bytes of the answers that a process reads at once, of all connectors, are bounded: 200 answers of almost 1 MiB,
// and ten pages of 16 MiB.
func TestConcurrentAnswersAreBounded(t *testing.T) {
	const most = 2*MaxMessage + 200*window + 4*connWindow
	for name, c := range map[string]struct {
		calls, bytes int
		call         func(context.Context, connector.Driver) error
	}{
		"bookings": {200, maxAnswer - 1000, put},
		"pages": {10, MaxMessage - 1000, func(ctx context.Context, d connector.Driver) error {
			_, err := d.List(ctx, &tiebackv1.ListRequest{})
			return err
		}},
	} {
		var arrived sync.WaitGroup // the answers go out at once
		arrived.Add(c.calls)
		text := strings.Repeat("x", c.bytes)
		d := listDriver{list: func() (*tiebackv1.ListResponse, error) {
			arrived.Done()
			arrived.Wait()
			return &tiebackv1.ListResponse{Cursor: text}, nil
		}}
		d.put = func(context.Context, *tiebackv1.PutRequest) (*tiebackv1.PutResponse, error) {
			arrived.Done()
			arrived.Wait()
			return &tiebackv1.PutResponse{Booking: &tiebackv1.Booking{OriginId: text}}, nil
		}
		address, _ := served(t, d, ServerConfig{})
		bytes := &inFlight{}
		drivers := []connector.Driver{opened(t, bytes.before(t, address), nil), opened(t, bytes.before(t, address), nil)}
		var all sync.WaitGroup
		for i := range c.calls {
			all.Go(func() {
				if err := c.call(t.Context(), drivers[i%2]); err != nil {
					t.Error(err)
				}
				bytes.add(-c.bytes)
			})
		}
		all.Wait()
		t.Logf("%s: at most %d MiB at once", name, bytes.most>>20)
		if bytes.most > most || bytes.most < 1<<20 {
			t.Errorf("%s: %d bytes were in flight at once, want at most %d", name, bytes.most, most)
		}
	}
}

// inFlight counts the bytes that went to clients and are not those of completed calls.
type inFlight struct {
	mu        sync.Mutex
	now, most int
}

func (h *inFlight) add(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now += n
	h.most = max(h.most, h.now)
}

// Write implements io.Writer.
func (h *inFlight) Write(p []byte) (int, error) {
	h.add(len(p))
	return len(p), nil
}

// before returns the address of a proxy that counts what a server at address sends.
func (h *inFlight) before(t *testing.T, address string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", address)
			if err != nil {
				_ = in.Close()
				continue
			}
			all.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
			all.Go(func() { _, _ = io.Copy(io.MultiWriter(in, h), out); _ = in.Close() })
		}
	})
	return l.Addr().String()
}
